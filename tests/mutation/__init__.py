"""Takes predicates out of code, one at a time, and finds the tests that miss them.

``places`` puts a switch where one can be taken out, ``switch`` turns one of them off, ``trial`` runs the tests
that notice, in ``children`` of one process.
"""
