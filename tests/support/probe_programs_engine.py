"""The same misdeeds by an engine that may start programs."""

from tests.support.probe_engine import engine

ENGINE = engine("probe-programs", processes=True)
