"""uid -> login name. A directory may be away or slow when it is asked, and a uid may be given to somebody else."""

import pwd
import threading
from collections.abc import Callable

from gputally.accounting.keys import user_namespace

_KNOWN_US = 600_000_000  # until it is asked again: whose the uid is now
_UNKNOWN_US = 60_000_000  # the same where nobody knew the uid: the directory may be there by now
_MOST = 256  # users remembered; a node has fewer at one time
_MOST_OPEN = 8  # questions without an answer, a thread each
_PATIENCE_S = 2.0  # with a directory, far below the silence after which a probe is taken for stuck in the driver
_LONGEST = 253  # bytes of a user's namespace, as of one of Kubernetes


class LoginNames:
    """The names that this machine has for its users. `name_of` is the machine's word, or raises KeyError.

    One thread calls it. A directory that does not answer holds nobody up: GPUs are sampled meanwhile.
    """

    def __init__(
        self,
        monotonic_us: Callable[[], int],
        name_of: Callable[[int], str] = lambda uid: pwd.getpwuid(uid).pw_name,
        patience_s: float = _PATIENCE_S,
    ) -> None:
        self._monotonic_us = monotonic_us
        self._name_of = name_of
        self._patience_s = patience_s
        self._known: dict[int, tuple[str, int]] = {}  # the name, and until when it stands
        self._open: dict[int, _Question] = {}

    def of(self, uid: int) -> str:
        """The name, or the uid in digits where it has none (as in a container), or none that could be a namespace.

        Where the machine does not know a name any more that it knew ten minutes ago, or does not answer, that stands.
        """
        now_us = self._monotonic_us()
        name, until_us = self._known.get(uid, ("", now_us))
        if now_us < until_us:
            return name
        found = self._ask(uid)
        if found is None:
            return name or str(uid)
        self._known.pop(uid, None)
        if len(self._known) >= _MOST:
            del self._known[next(iter(self._known))]
        self._known[uid] = (found or name or str(uid), now_us + (_KNOWN_US if found else _UNKNOWN_US))
        return self._known[uid][0]

    def _ask(self, uid: int) -> str | None:
        """The machine's word, empty where it has none; None: no answer yet. One question at a time is waited for."""
        self._open = {of: each for of, each in self._open.items() if of == uid or not each.answered.is_set()}
        patience_s = 0.0 if self._open else self._patience_s
        if uid not in self._open:
            if len(self._open) >= _MOST_OPEN:
                return None
            self._open[uid] = _Question(self._name_of, uid)
        return self._open.pop(uid).name if self._open[uid].answered.wait(patience_s) else None


class _Question:
    """One question to the machine, in a thread of its own, which nobody can end."""

    def __init__(self, name_of: Callable[[int], str], uid: int) -> None:
        self.answered = threading.Event()
        self.name = ""
        threading.Thread(target=self._run, args=(name_of, uid), name="login-name", daemon=True).start()

    def _run(self, name_of: Callable[[int], str], uid: int) -> None:
        try:
            self.name = _checked(name_of(uid))
        except (KeyError, UnicodeEncodeError):  # the latter: not UTF-8, and protobuf takes no lone surrogates
            self.name = ""
        finally:
            self.answered.set()


def _checked(name: str) -> str:
    """The name; empty where it is no namespace's, or might be another's uid."""
    return "" if name.isdecimal() or len(user_namespace(name).encode()) > _LONGEST else name
