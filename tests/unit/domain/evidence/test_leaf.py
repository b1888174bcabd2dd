"""Is the leaf hash that of RFC 6962?"""

from __future__ import annotations

from domain.evidence.leaf import digest


def test_the_check_value_holds() -> None:
    assert digest(b"hello world") == "TszzRgjTG6xce+z2AG31kAXYKBgQVtCSCE40HmuwBb0="


def test_the_leaf_of_nothing_is_that_of_the_rfc() -> None:
    # RFC 6962's reference test: SHA-256 of one zero byte.
    assert digest(b"") == "bjQLnP+zepicpUTmu3gKLHiQHT+zNzh2hRGjBhevoB0="
