# SPDX-License-Identifier: GPL-2.0
"""The way in, as `farm` and as `python -m farm`.

What takes half a second, loading the farm, is done in here: a Ctrl-C at that time ends it with a line,
as it does later. Nothing has been started by then that would have to be ended.
"""

import atexit
import codecs
import io
import os
import signal
import sys
from types import FrameType

#: As farm.base.errors has it, which is not loaded yet.
FARM = 3

#: Signs that the farm writes, and what a terminal without them shows.
PLAIN = str.maketrans(
    {"…": "...", "–": "-", "—": "--", "→": "->", "×": "x", "•": "*", "·": "-", "─": "-", "│": "|", "’": "'"}
)


def main() -> None:
    """Run the command line; it ends with SystemExit."""
    _open_streams()
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # it is ignored below nohup
        signal.signal(signal.SIGINT, _interrupted)
        # what is registered first runs last: Python would take its own handlers away then, and die
        # of a Ctrl-C when everything is done and only the exit status is left to be given
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
    """stdout or stderr. A disk that is full or a reader who has had enough (`farm run | head`) ends no
    run: what is to be printed after that is lost, and `trouble` says why."""

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
    """Make stdin, stdout and stderr such that writing to them raises nothing.

    One that the caller has closed becomes the null device, or the next file that is opened would get
    its number, and what is printed. A sign that the encoding lacks is written in another way.
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
    """A handler for `codecs`: the nearest that ASCII has."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end].translate(PLAIN)
    return text.encode("ascii", "backslashreplace").decode(), error.end


if __name__ == "__main__":
    main()
