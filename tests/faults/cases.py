"""The cases of the fault matrix, and the mark that makes a test one of them."""

from __future__ import annotations

import pytest

# The outcome that is no error: a result, and the store assembled the very bytes of the file.
EXACT = "exact bytes"

CASES = {
    1: "a presigned URL expired, in each store's own words",
    2: "the refreshed URL has expired too",
    3: "the signing credentials end before the URL does",
    4: "an early 403 and a reset in mid-body, also over TLS",
    5: "an early 503 before the body ends",
    6: "403, and the store stops reading but leaves the socket open",
    7: "the URL expires in mid-PUT, the store answers 200",
    8: "400 RequestTimeout",
    9: "a steady link of 100 KB/s",
    10: "a link that takes no byte for the stall time",
    11: "reset at the headers, in mid-body, at the last byte, before the answer",
    12: "the part is stored, the answer lost",
    13: "complete is carried out, the answer lost",
    14: "complete answers 500, then works",
    15: "polling answers 500 and 429 for a while",
    16: "status `failed`, with a message",
    17: "the upload vanished between two runs",
    18: "the file is truncated, grown or rewritten during the upload",
    19: "the file is rewritten at equal size, its time put back, before a resume",
    20: "the file is replaced by a rename in mid-upload",
    21: "SIGKILL at random moments",
    22: "the journal: disk full, torn, of an older or a newer schema",
    23: "two processes and one file; a dead owner",
    24: "the state directory is a symbolic link or someone else's",
    25: "all loggers at DEBUG, errors, tracebacks, pickles, state",
    26: "error bodies that echo the string to sign, or the token",
    27: "a presigned URL that is not one to send a file to",
    28: "307 to another host",
    29: "API credentials in a storage request",
    30: "endless bodies, gzip bombs, endless headers",
    31: "an XML entity bomb",
    32: "ANSI, OSC, CR and bidi marks in messages and file names",
    33: "netrc and proxy variables",
    34: "create answers with wrong part numbers",
    35: "files of odd sizes, and files that are none",
    36: "Ctrl-C at any time",
    37: "an idle connection is closed between two parts",
    38: "Retry-After: negative, a date, immense, garbage",
    39: "50 clients in a storm of 503s",
    40: "this machine's clock is a day off",
    41: "10,000 parts",
    42: "a dead address among several",
    43: "a fork after use",
    44: "the store stops reading, or never answers, one part of many",
    45: "a web page in place of the API's answer; an upload that it does not know for a moment",
    46: "a worker is killed in mid-part, or lost with each part it gets",
    47: "URLs expire while parts wait for a worker",
    48: "the scheduler of a cluster is lost; the pool is broken or shut down",
    49: "workers without the library, of another version, or without the file",
    50: "the process that gives parts to workers is killed",
    51: "what a cluster logs, shows and records",
    52: "a real object store, or the service before it, is killed and started again",
    53: "the URLs of a real object store run out, or are tampered with",
    54: "this machine is out of descriptors, or of threads",
}


def case(number: int, *outcomes: str) -> pytest.MarkDecorator:
    """The test proves case `number`; it ends in one of `outcomes`: `EXACT`, or the name of an error."""
    assert number in CASES
    assert outcomes
    return pytest.mark.case(number, outcomes)
