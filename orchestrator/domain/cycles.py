"""Going in circles: the same short sequence of steps again and again."""


def repeated_period(calls: tuple[str, ...], repeats: int) -> int | None:
    """The shortest period 1-4 with which the last calls repeat `repeats` times; None when they do not."""
    for period in range(1, 5):
        need = period * repeats
        tail = calls[-need:]
        if len(tail) == need and all(tail[i] == tail[i % period] for i in range(need)):
            return period
    return None
