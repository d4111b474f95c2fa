import pytest

from lodestream.domain.errors import Unprocessable
from lodestream.domain.outbound import parse_hosts, require_allowed


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("anything.example", ""),
        ("Mail.Example.com.", "mail.example.com"),
        ("a.b.example.com", "other.example, *.Example.com"),
        ("10.1.2.3", "10.1.0.0/16"),
        ("10.1.2.3", "10.1.2.3"),
        ("[2001:DB8::1]", "2001:db8::/32"),
    ],
)
def test_a_listed_host_is_allowed(host: str, allowed: str) -> None:
    require_allowed(host, parse_hosts(allowed))


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("evil.example", "mail.example.com"),
        ("example.com", "*.example.com"),
        ("notexample.com", "*.example.com"),
        ("mail.example.com.evil.example", "mail.example.com, *.example.com"),
        ("10.2.0.1", "10.1.0.0/16"),
        ("internal.example", "10.1.0.0/16"),
        ("167837955", "10.1.0.0/16"),
        ("", "*.example.com"),
    ],
)
def test_a_host_that_is_not_listed_is_refused(host: str, allowed: str) -> None:
    with pytest.raises(Unprocessable, match="LODESTREAM_OUTBOUND_HOSTS"):
        require_allowed(host, parse_hosts(allowed))
