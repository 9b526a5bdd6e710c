"""How long the machine looks for trouble: ``HYPOTHESIS_PROFILE=model-long`` for much longer."""
