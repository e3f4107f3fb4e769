"""For every test: hypothesis measures no time, since a loaded machine is slow, and keeps no folder of examples."""

from hypothesis import HealthCheck, settings

settings.register_profile("project", deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("project")
