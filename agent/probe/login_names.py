"""uid -> login name. A directory may be away when it is asked first, and a uid may be given to somebody else."""

import pwd
from collections.abc import Callable

from gputally.accounting.keys import user_namespace

_KNOWN_US = 600_000_000  # until it is asked again: whose the uid is now
_UNKNOWN_US = 60_000_000  # the same where nobody knew the uid: the directory may be there by now
_MOST = 256  # users remembered; a node has fewer at one time
_LONGEST = 253  # bytes of a user's namespace, as of one of Kubernetes


class LoginNames:
    """The names that this machine has for its users. `name_of` is the machine's word, or raises KeyError."""

    def __init__(
        self, monotonic_us: Callable[[], int], name_of: Callable[[int], str] = lambda uid: pwd.getpwuid(uid).pw_name
    ) -> None:
        self._monotonic_us = monotonic_us
        self._name_of = name_of
        self._known: dict[int, tuple[str, int]] = {}  # the name, and until when it stands

    def of(self, uid: int) -> str:
        """The name, or the uid in digits where it has none (as in a container), or none that could be a namespace.

        Where the machine does not know a name any more that it knew ten minutes ago, that one stands.
        """
        now_us = self._monotonic_us()
        name, until_us = self._known.get(uid, ("", now_us))
        if now_us < until_us:
            return name
        found = self._find(uid)
        self._known.pop(uid, None)
        if len(self._known) >= _MOST:
            del self._known[next(iter(self._known))]
        self._known[uid] = (found or name or str(uid), now_us + (_KNOWN_US if found else _UNKNOWN_US))
        return self._known[uid][0]

    def _find(self, uid: int) -> str:
        """Its name; empty where there is none, or one that is no namespace's, or might be another's uid."""
        try:
            name = self._name_of(uid)
            is_good = not name.isdecimal() and len(user_namespace(name).encode()) <= _LONGEST
            return name if is_good else ""
        except (KeyError, UnicodeEncodeError):  # the latter: not UTF-8, and protobuf takes no lone surrogates
            return ""
