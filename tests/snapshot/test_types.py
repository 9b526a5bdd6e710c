"""Which types may be stored, how they are found again, and what happens when they have changed since."""

from __future__ import annotations

import collections
import dataclasses
import enum
import http
import importlib
import re
import sys
import types
from typing import Any

import msgspec
import pytest
import stored_types as t

from durable_trio._errors import DefinitionError, SnapshotError, StoreError
from durable_trio._snapshot.codec import Codec
from durable_trio._snapshot.records import Header
from durable_trio._snapshot.types import Opaque, TypeChanged, TypeRegistry, UnknownType
from durable_trio._snapshot.wire import ENUM, OBJECT
from durable_trio._values import Failure, Finish, Goto


def stored(code, name, content):
    """The bytes of a user's value, as another program might have written them."""
    return msgspec.msgpack.encode(msgspec.msgpack.Ext(code, msgspec.msgpack.encode([name, content])))


def codec(*classes, modules=(), lenient=False):
    return Codec(TypeRegistry(classes, modules, lenient=lenient))


@pytest.fixture
def module(monkeypatch):
    """An importable module, already imported, to be filled by the test."""
    made = types.ModuleType("made_up_module")
    monkeypatch.setitem(sys.modules, "made_up_module", made)
    return made


def define(module, source):
    exec(source, module.__dict__)


# -- registering -------------------------------------------------------------------------------------


class NotADataclass:
    pass


@dataclasses.dataclass
class ErrorWithFields(Exception):
    code: int


@dataclasses.dataclass
class DictWithFields(dict):
    extra: int


@pytest.mark.parametrize(
    "wrong",
    [NotADataclass, int, ErrorWithFields, DictWithFields, enum.Enum, msgspec.Struct, t.Order(1), "Order"],
)
def test_only_enums_structs_and_dataclasses_can_be_registered(wrong):
    with pytest.raises(
        DefinitionError, match=r"types=\[\.\.\.\] holds .* only an Enum, a msgspec\.Struct or"
    ):
        TypeRegistry([wrong])


def local_class(fields):
    @dataclasses.dataclass
    class Local:
        x: Any = fields

    return Local


def test_two_types_of_one_name_are_refused_and_the_same_twice_is_not():
    one, two = local_class(1), local_class(2)
    TypeRegistry([one, one])
    with pytest.raises(DefinitionError, match=r"two types named test_types:local_class\.<locals>\.Local"):
        TypeRegistry([one, two])


def test_a_local_class_is_known_if_it_is_registered():
    local = local_class(1)
    use = codec(local)
    assert use.decode_value(use.encode_value(local("x"))) == local("x")


def test_fields_are_given_to_who_asks():
    registry = TypeRegistry([t.Color, t.Basket, t.Computed])
    assert registry.user_types == {
        t.Color: None,
        t.Basket: ("line_items", "note"),
        t.Computed: ("base", "derived"),
    }
    assert registry.resolve(t.Basket) == ("line_items", "note")
    assert registry.resolve(t.Color) is None
    assert registry.resolve(Failure) == ("type", "message", "traceback", "attempts")


@pytest.mark.parametrize(
    "kind", [NotADataclass, ErrorWithFields, object, collections.OrderedDict, type, Goto, Finish]
)
def test_a_type_of_no_storable_kind_is_somebody_elses_to_explain(kind):
    assert (
        TypeRegistry(modules=["test_types", "builtins", "collections", Goto.__module__]).resolve(kind)
        is NotImplemented
    )


@pytest.mark.parametrize("kind", [t.Color, t.Money, t.Order, t.Computed.Inner, http.HTTPStatus])
def test_an_unregistered_type_is_refused_with_advice(kind):
    name = f"{kind.__module__}.{kind.__qualname__}"
    with pytest.raises(SnapshotError) as caught:
        TypeRegistry(modules=["elsewhere"]).resolve(kind)
    assert f"register it: open_engine(..., types=[{name}])" in str(caught.value)
    assert caught.value.type_name == name


def test_the_types_of_a_known_module_need_no_registration():
    registry = TypeRegistry(modules=["stored_types"])
    assert registry.user_types == {}
    assert registry.resolve(t.Computed.Inner) == ("value",)
    assert registry.user_types == {t.Computed.Inner: ("value",)}


def test_a_class_that_its_module_does_not_hold_under_its_name_must_be_registered(module):
    define(module, "import enum\nclass Mood(enum.Enum):\n    GOOD = 1\n")
    mood = module.Mood
    registry = TypeRegistry(modules=["made_up_module"])
    define(module, "class Mood(enum.Enum):\n    GOOD = 2\n")
    with pytest.raises(SnapshotError, match="register it"):
        registry.resolve(mood)
    assert registry.resolve(module.Mood) is None
    with pytest.raises(SnapshotError, match="register it"):
        TypeRegistry(modules=["test_types"]).resolve(local_class(1))


# -- finding -----------------------------------------------------------------------------------------


def test_a_fresh_process_finds_the_types_of_known_modules():
    data = codec(*t.TYPES).encode_value([t.Color.RED, t.Order(1), t.Computed.Inner(t.Access.READ)])
    assert codec(modules=["stored_types"]).decode_value(data) == [
        t.Color.RED,
        t.Order(1),
        t.Computed.Inner(t.Access.READ),
    ]


@pytest.mark.parametrize(
    "name",
    [
        "os:system",
        "stored_types:enum",
        "stored_types:msgspec.Struct",
        "stored_types:msgspec",
        "stored_types:Any",
        "stored_types:TYPES",
        "stored_types:__builtins__",
        "stored_types:Order.__init__",
        "stored_types:Order.__class__",
        "stored_types:Missing",
        "stored_types:",
        ":Order",
        "stored_types",
        "stored_types:Order:Order",
        "",
        "durable_trio._errors:StoreError",
        "builtins:object",
    ],
)
@pytest.mark.parametrize("code", [ENUM, OBJECT])
def test_a_database_cannot_name_anything_else(name, code):
    with pytest.raises(UnknownType, match="register it"):
        codec(modules=["stored_types", "os"]).decode_value(
            stored(code, name, {} if code == OBJECT else "RED")
        )


def test_a_name_is_never_imported(tmp_path, monkeypatch):
    package = tmp_path / "imported_by_a_database"
    package.mkdir()
    (package / "__init__.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    use = codec(modules=["imported_by_a_database", "stored_types"])
    before = set(sys.modules)
    for name in ("imported_by_a_database:Order", "imported_by_a_database.sub:Order", "this:Order"):
        with pytest.raises(UnknownType):
            use.decode_value(stored(OBJECT, name, {}))
    assert set(sys.modules) == before
    with pytest.raises(SystemExit):
        importlib.import_module("imported_by_a_database")


def test_a_modules_getattr_is_not_asked(module):
    define(module, "def __getattr__(name):\n    raise SystemExit(name)\n")
    with pytest.raises(UnknownType):
        codec(modules=["made_up_module"]).decode_value(stored(OBJECT, "made_up_module:Order", {}))


def test_a_known_modules_foreign_class_is_not_found_through_it(module):
    module.Order = t.Order
    data = stored(OBJECT, "made_up_module:Order", {"id": 1, "lines": [], "total": 0})
    with pytest.raises(UnknownType):
        codec(modules=["made_up_module"]).decode_value(data)


def test_a_class_that_moved_is_found_by_its_old_name_as_long_as_the_old_module_holds_it(module):
    module.Order = t.Order
    data = stored(OBJECT, "made_up_module:Order", {"id": 1, "lines": [], "total": 0})
    assert codec(t.Order, modules=["made_up_module"]).decode_value(data) == t.Order(1)
    assert codec(modules=["made_up_module", "stored_types"]).decode_value(data) == t.Order(1)


def test_an_unknown_type_says_what_to_do():
    with pytest.raises(UnknownType) as caught:
        codec().decode_value(codec(t.Order).encode_value({"order": [t.Order(1)]}))
    assert "'stored_types:Order'" in str(caught.value)
    assert "open_engine(..., types=[stored_types.Order])" in str(caught.value)
    assert isinstance(caught.value, StoreError)


# -- evolution ---------------------------------------------------------------------------------------

STRUCT = "class Thing(msgspec.Struct{}):\n"
DATACLASS = "@dataclasses.dataclass\nclass Thing:\n"
HEAD = "import dataclasses, enum, msgspec\nfrom typing import Any\n"
OLD = "    a: Any\n    b: Any = 2\n"


def thing(module, base, fields):
    define(module, HEAD + base.format("") + fields)
    return module.Thing


@pytest.mark.parametrize("before", [STRUCT, DATACLASS])
@pytest.mark.parametrize(
    ("after", "extra"),
    [
        (STRUCT, "    c: Any = 3\n    d: list = msgspec.field(default_factory=lambda: ['made'])\n"),
        (
            STRUCT,
            "    c: Any = 3\n    d: 'NeverImported' = msgspec.field(default_factory=lambda: ['made'])\n",
        ),
        (DATACLASS, "    c: Any = 3\n    d: list = dataclasses.field(default_factory=lambda: ['made'])\n"),
    ],
)
def test_a_new_field_gets_its_default(module, before, after, extra):
    old = thing(module, before, OLD)
    data = codec(old).encode_value([old(1), old(1)])
    new = thing(module, after, OLD + extra)
    one, two = codec(new).decode_value(data)
    assert type(one) is new
    assert one == two == new(1, 2, 3, ["made"])
    assert one.d is not two.d, "a factory makes one for each"


@pytest.mark.parametrize("before", [STRUCT, DATACLASS])
@pytest.mark.parametrize("after", [STRUCT, DATACLASS])
@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            "    a: Any\n    c: Any\n    b: Any = 2\n",
            "made_up_module:Thing has a field 'c' that the stored value lacks",
        ),
        ("    a: Any\n", "made_up_module:Thing has no field 'b', which is stored"),
        ("    b: Any = 2\n", "made_up_module:Thing has no field 'a', which is stored"),
        ("    a: Any\n    renamed: Any = 2\n", "made_up_module:Thing has no field 'b', which is stored"),
    ],
)
def test_a_change_that_does_not_fit_names_type_and_field(module, before, after, fields, message):
    old = thing(module, before, OLD)
    data = codec(old).encode_value(old(1))
    with pytest.raises(TypeChanged, match=re.escape(message)):
        codec(thing(module, after, fields)).decode_value(data)


def test_fields_may_change_places(module):
    old = thing(module, STRUCT, OLD)
    data = codec(old).encode_value(old(1, 5))
    new = thing(module, DATACLASS, "    b: Any\n    a: Any\n")
    assert codec(new).decode_value(data) == new(b=5, a=1)


def test_required_keyword_fields_and_defaults_before_them(module):
    source = "class Thing(msgspec.Struct, kw_only=True):\n    a: Any = 1\n    b: Any\n    c: Any = None\n"
    new = thing(module, source, "")
    data = stored(OBJECT, "made_up_module:Thing", {"b": 7})
    assert codec(new).decode_value(data) == new(b=7)
    with pytest.raises(
        TypeChanged, match="has a field 'b' that the stored value lacks: give the field a default"
    ):
        codec(new).decode_value(stored(OBJECT, "made_up_module:Thing", {"a": 7}))


def test_an_enums_values_may_change_but_its_names_stay(module):
    define(module, HEAD + "class Thing(enum.Enum):\n    OLD = 1\n    GONE = 2\n")
    use = codec(module.Thing)
    kept, gone = use.encode_value(module.Thing.OLD), use.encode_value(module.Thing.GONE)
    define(module, "class Thing(enum.Enum):\n    OLD = 'other'\n")
    assert codec(module.Thing).decode_value(kept) is module.Thing.OLD
    with pytest.raises(TypeChanged, match="made_up_module:Thing has no member 'GONE'"):
        codec(module.Thing).decode_value(gone)


def test_an_alias_keeps_a_renamed_member_readable(module):
    define(module, HEAD + "class Thing(enum.Enum):\n    NEW = 1\n    OLD = 1\n")
    assert codec(module.Thing).decode_value(stored(ENUM, "made_up_module:Thing", "OLD")) is module.Thing.NEW


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("enum.Flag", 8),
        ("enum.Flag", "READ"),
        ("enum.Flag", None),
        ("enum.IntFlag, boundary=enum.EJECT", 8),
        ("enum.IntFlag", 1 << 100_000),
    ],
    ids=["unnamed bit", "str", "None", "eject", "huge"],
)
def test_a_flag_that_no_member_makes_up(module, kind, value):
    define(module, HEAD + f"class Thing({kind}):\n    READ = 1\n    WRITE = 2\n")
    use = codec(module.Thing)
    assert use.decode_value(stored(ENUM, "made_up_module:Thing", 3)) == module.Thing(3)
    with pytest.raises(TypeChanged, match="made_up_module:Thing has no member"):
        use.decode_value(stored(ENUM, "made_up_module:Thing", use.wire(value)))


def test_a_class_that_became_an_enum_and_the_other_way_round(module):
    define(module, HEAD + "class Thing(enum.Enum):\n    A = 1\n")
    with pytest.raises(TypeChanged, match="is an enum now"):
        codec(module.Thing).decode_value(stored(OBJECT, "made_up_module:Thing", {"a": 1}))
    new = thing(module, STRUCT, OLD)
    with pytest.raises(TypeChanged, match="is no enum any more"):
        codec(new).decode_value(stored(ENUM, "made_up_module:Thing", "A"))


# -- lenient -----------------------------------------------------------------------------------------


def test_a_reader_without_the_users_code_sees_what_is_stored():
    writer = codec(*t.TYPES)
    value = {
        "order": t.Order(1, [t.Money(5)], t.Color.GREEN),
        "access": t.Access.READ | t.Access.WRITE,
        "set": {t.Color.RED, t.Point(1)},
        "failure": Failure("ValueError", "no"),
    }
    shown = codec(lenient=True).decode_value(writer.encode_value(value))
    green = Opaque("stored_types:Color", {"member": "GREEN"})
    money = Opaque("stored_types:Money", {"amount": 5, "currency": "EUR"})
    assert shown == {
        "order": Opaque("stored_types:Order", {"id": 1, "lines": [money], "total": green}),
        "access": Opaque("stored_types:Access", {"value": 3}),
        "set": {
            Opaque("stored_types:Color", {"member": "RED"}),
            Opaque("stored_types:Point", {"x": 1, "y": 0}),
        },
        "failure": Failure("ValueError", "no"),
    }
    assert repr(shown["order"]) == (
        "<stored_types:Order(id=1, lines=[<stored_types:Money(amount=5, currency='EUR')>], "
        "total=<stored_types:Color(member='GREEN')>)>"
    )


def test_a_lenient_reader_still_finds_what_it_knows_and_shows_what_has_changed(module):
    old = thing(module, STRUCT, OLD)
    data = codec(old, t.Point).encode_value([old(1), t.Point(1)])
    new = thing(module, STRUCT, "    other: Any\n")
    assert codec(new, t.Point, lenient=True).decode_value(data) == [
        Opaque("made_up_module:Thing", {"a": 1, "b": 2}),
        t.Point(1),
    ]


@pytest.mark.parametrize("key", ["Atlantis/Center", "../../etc/passwd", "/etc/passwd", "a..b", "", "Europe"])
@pytest.mark.parametrize(("code", "text"), [(9, "2024-01-01T10:00:00"), (11, "10:00:00")])
def test_a_time_zone_that_this_system_lacks(key, code, text):
    data = msgspec.msgpack.encode(msgspec.msgpack.Ext(code, msgspec.msgpack.encode([text, key, 0])))
    with pytest.raises(UnknownType, match=f"time zone {re.escape(repr(key))}.*install its time zone data"):
        codec().decode_value(data)
    shown = codec(lenient=True).decode_value(data)
    assert shown == Opaque("zoneinfo:ZoneInfo", {"key": key, "instant": text})


def test_a_header_whose_types_are_unknown_can_be_read_leniently():
    writer = codec(*t.TYPES)
    header = Header("id", "wf", "1", b"f", 1.0, writer.wire({"order": t.Money(1)}))
    data = writer.encode(header)
    reader = codec()
    with pytest.raises(UnknownType):
        reader.decode_header(data)
    shown = codec(lenient=True).decode_header(data)
    assert shown.id == "id"
    assert shown.input == {"order": Opaque("stored_types:Money", {"amount": 1, "currency": "EUR"})}
