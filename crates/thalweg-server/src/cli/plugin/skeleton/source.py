"""__NAME__: say in one sentence where the rows come from."""

from thalweg_sdk import Context, __IMPORTS__


@source
def __SYMBOL__(ctx: Context, config: dict):
    """So many rows (`count`; without it no end), one every `seconds`."""
    n = ctx.state.get("n", 0)
    # Waits, but not when the stream is ended meanwhile.
    while n != config.get("count") and not ctx.stopping.wait(config.get("seconds", 1)):
        n += 1
        # Before the row that it covers: where to go on after a restart.
        ctx.state["n"] = n
        yield {"n": n}
