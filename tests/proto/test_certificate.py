"""When a certificate ends, as the library that made it says; and no bytes break the reader."""

import base64
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.certificates import Authority, serialization, x509

from gputally.proto.certificate import Validity, validity

AUTHORITY = Authority()


def by_library(pem: bytes) -> Validity:
    found = x509.load_pem_x509_certificate(pem)
    return Validity(int(found.not_valid_before_utc.timestamp()), int(found.not_valid_after_utc.timestamp()))


@pytest.mark.parametrize("days", [1, 397, 9_000, 70_000])
def test_it_is_what_the_library_says(days: int) -> None:
    """From 2050 on the year has four digits."""
    pem = AUTHORITY.issue(dns=["n"], ends_in=timedelta(days=days)).certificate
    assert validity(pem) == by_library(pem)


def test_of_a_chain_it_is_that_of_the_one_which_ends_first() -> None:
    pem = AUTHORITY.issue(dns=["n"], ends_in=timedelta(hours=1)).certificate
    assert validity(AUTHORITY.pem + b"some words\n" + pem) == by_library(pem)


@pytest.mark.parametrize("pem", [b"", b"no PEM", AUTHORITY.issue(dns=["n"]).key])
def test_where_there_is_no_certificate_nothing_is_known(pem: bytes) -> None:
    assert validity(pem) is None


@given(st.binary(max_size=200))
def test_no_bytes_break_the_reader(der: bytes) -> None:
    pem = b"-----BEGIN CERTIFICATE-----" + base64.b64encode(der) + b"-----END CERTIFICATE-----"
    assert validity(pem) is None


@given(st.integers(0, 10_000), st.integers(0, 255))
def test_no_changed_byte_breaks_the_reader(at: int, byte: int) -> None:
    der = bytearray(x509.load_pem_x509_certificate(AUTHORITY.pem).public_bytes(serialization.Encoding.DER))
    der[at % len(der)] = byte
    found = validity(b"-----BEGIN CERTIFICATE-----" + base64.b64encode(der) + b"-----END CERTIFICATE-----")
    assert found is None or found.ends_s > datetime(1900, 1, 1, tzinfo=UTC).timestamp()
