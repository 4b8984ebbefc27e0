"""The one error that a user meets."""


class CosetCircuitsError(ValueError):
    """Bad input, said in one sentence: what was given, what was expected, what to do.

    The command line prints the sentence and exits with code 2.
    """
