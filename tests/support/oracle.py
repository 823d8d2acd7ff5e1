"""The one question of every crash test: is what was acknowledged there, once, and in order?"""

import audit


def check(db, acknowledged=None, ended=False, final=(), clock_set=False):
    """As audit.check(); AssertionError says what is wrong."""
    known = None if acknowledged is None else list(acknowledged)
    audit.check(db, known, ended=ended, final=final, clock_set=clock_set)
