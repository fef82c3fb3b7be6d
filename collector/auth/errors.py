"""Why somebody is not let in. Each message is one sentence for whoever was refused, and holds no secret."""


class AuthError(Exception):
    """Nobody is let in on this ground."""


class Unauthenticated(AuthError):
    """Who it is could not be established: no credentials, or credentials that nobody vouches for (HTTP 401)."""


class Forbidden(AuthError):
    """It is known who it is, and that one may not do this (HTTP 403)."""


class Undecided(AuthError):
    """Whoever could tell does not answer now; come again later (HTTP 503)."""
