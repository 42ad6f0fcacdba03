# SPDX-License-Identifier: GPL-2.0
"""The entry point, as `farm` and as `python -m farm`.

Loading the farm takes half a second, and happens inside main(): a Ctrl-C during that time ends the farm
with one line, as it does later. Nothing that would have to be ended has been started by then.
"""

import atexit
import codecs
import io
import os
import signal
import sys
from types import FrameType

#: The same as in farm.base.errors, which is not loaded yet.
FARM = 3

#: Characters that the farm prints, and what a terminal without them shows instead.
PLAIN = str.maketrans(
    {"…": "...", "–": "-", "—": "--", "→": "->", "×": "x", "•": "*", "·": "-", "─": "-", "│": "|", "’": "'"}
)


def main() -> None:
    """Run the command line. It ends with SystemExit."""
    _open_streams()
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # nohup ignores it
        signal.signal(signal.SIGINT, _interrupted)
        # what is registered first runs last: Python then removes its own handlers, and would die of
        # a Ctrl-C when everything is done and only the exit status is left
        atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)
    from farm.cli import main as command_line

    try:
        if signal.getsignal(signal.SIGINT) is _interrupted:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        command_line()
    finally:
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, _interrupted)


def _interrupted(_number: int, _frame: FrameType | None) -> None:
    os.write(2, b"interrupted\n")
    os._exit(FARM)


class Output(io.TextIOWrapper):
    """stdout or stderr. A full disk, or a reader that stops reading (`farm run | head`), does not end a
    run: all later output is lost, and `trouble` says why."""

    trouble: OSError | None = None

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except OSError as error:
            return self._lost(error, len(text))

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            self._lost(error)

    def _lost(self, error: OSError, written: int = 0) -> int:
        self.trouble = error
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, self.fileno())
        os.close(null)
        return written


def _open_streams() -> None:
    """Replace stdin, stdout and stderr by streams that raise nothing when they are written to.

    One that the caller has closed becomes the null device. Otherwise the next file that is opened
    would get its number, and all that is printed. A character that the encoding lacks is replaced.
    """
    codecs.register_error("plain", _plainer)
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        stream = getattr(sys, name)
        if stream is None:
            null = os.open(os.devnull, os.O_RDWR)
            if null != descriptor:
                os.dup2(null, descriptor)
                os.close(null)
        if stream is None and not descriptor:
            sys.stdin = os.fdopen(descriptor)
        elif stream is None:
            setattr(sys, name, Output(os.fdopen(descriptor, "wb"), "utf-8", "plain"))
        elif descriptor and isinstance(stream, io.TextIOWrapper):
            output = Output(stream.buffer, stream.encoding, "plain", line_buffering=stream.line_buffering)
            setattr(sys, name, output)


def _plainer(error: UnicodeError) -> tuple[str, int]:
    """A handler for `codecs`: the nearest text in ASCII."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end].translate(PLAIN)
    return text.encode("ascii", "backslashreplace").decode(), error.end


if __name__ == "__main__":
    main()
