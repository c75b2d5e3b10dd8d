"""Its place puts the checkout's root on the path, so that tests can share helpers as `tests.unit.…`."""
