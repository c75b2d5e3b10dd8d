"""Health and slots of local model servers."""
