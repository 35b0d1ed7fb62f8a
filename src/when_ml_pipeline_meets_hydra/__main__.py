"""Entry point of ``python -m when_ml_pipeline_meets_hydra``."""

import sys

from when_ml_pipeline_meets_hydra.cli import main

sys.exit(main())
