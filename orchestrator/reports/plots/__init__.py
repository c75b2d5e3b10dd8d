"""Pictures of a report, as SVG text made by pure functions: no library, no script, no colours of its own."""
