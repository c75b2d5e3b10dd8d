"""What a local model server tells about itself: health, slots, load, context size, models."""
