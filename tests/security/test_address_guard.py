"""Which addresses count as public, and which URLs are read as what."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bedplate_gateway.engine.address_guard import RefusedAddress, Target, is_public, parse_target

NOT_PUBLIC = (
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "10.255.255.255",
    "100.64.0.1",
    "100.100.100.200",
    "100.127.255.255",
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",
    "169.254.0.1",
    "169.254.169.254",
    "169.254.170.2",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.0.170",
    "192.0.0.192",
    "192.0.2.1",
    "192.31.196.1",
    "192.52.193.1",
    "192.88.99.1",
    "192.168.0.1",
    "192.168.255.255",
    "192.175.48.1",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::8.8.8.8",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:8.8.8.8",
    "::ffff:0:8.8.8.8",
    "64:ff9b::7f00:1",
    "64:ff9b::808:808",
    "64:ff9b:1::1",
    "64:ff9b:1:ffff::7f00:1",
    "100::1",
    "100:0:0:1::1",
    "2001::1",
    "2001:0:7f00:1::",
    "2001:1::1",
    "2001:2::1",
    "2001:4:112::1",
    "2001:10::1",
    "2001:20::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:a00:1::1",
    "2002:808:808::1",
    "2620:4f:8000::1",
    "3fff::1",
    "4000::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fd12:3456:789a::1",
    "fe80::1",
    "fe80::1%eth0",
    "2606:4700::1%eth0",
    "fec0::1",
    "feff::1",
    "ff02::1",
    "ff0e::1",
    "",
    "localhost",
    "127.1",
    "0177.0.0.1",
    "0x7f.0.0.1",
    "2130706433",
    "8.8.8.8 ",
    "8.8.8.8/32",
)
PUBLIC = (
    "1.1.1.1",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.0",
    "169.253.255.255",
    "172.15.255.255",
    "172.32.0.0",
    "192.167.255.255",
    "223.255.255.255",
    "2001:200::1",
    "2001:4860:4860::8888",
    "2003::1",
    "2606:4700:4700::1111",
    "2a00:1450:4001:800::200e",
)


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_what_is_not_of_the_public_internet_is_refused(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_the_public_internet_is_not(address: str) -> None:
    assert is_public(address)


@given(st.ip_addresses())
def test_nothing_that_python_calls_local_is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    local = (
        not address.is_global
        or address.is_private
        or address.is_loopback
        or address.is_link_local
        or address.is_multicast
        or address.is_reserved
        or address.is_unspecified
    )
    assert not (local and is_public(str(address)))


@given(st.ip_addresses(v=4))
def test_no_ipv4_address_passes_inside_an_ipv6_address(address: ipaddress.IPv4Address) -> None:
    number = int(address)
    prefixes = ("::", "::ffff:0:0", "::ffff:0:0:0", "64:ff9b::", "64:ff9b:1::")
    wrapped = [int(ipaddress.IPv6Address(prefix)) | number for prefix in prefixes]
    wrapped += [0x2002 << 112 | number << 80, 0x2001 << 112 | number << 64, 0x2001 << 112 | (number ^ 0xFFFFFFFF)]
    assert not any(is_public(str(ipaddress.IPv6Address(form))) for form in wrapped)


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("https://a.example", Target("a.example", 443, "/")),
        ("HTTPS://A.Example:443/x/y.png?z=1&y=%20#part", Target("a.example", 443, "/x/y.png?z=1&y=%20")),
        ("https://a.example/ä?ö", Target("a.example", 443, "/%C3%A4?%C3%B6")),
        ("https://bücher.example/", Target("xn--bcher-kva.example", 443, "/")),
        ("https://8.8.8.8/x", Target("8.8.8.8", 443, "/x")),
        ("https://[2606:4700::0:1]/x", Target("2606:4700::1", 443, "/x")),
        ("https://[::ffff:127.0.0.1]/", Target("::ffff:7f00:1", 443, "/")),
        ("https://a_b.example/", Target("a_b.example", 443, "/")),
    ],
)
def test_a_url_is_read_once_into_what_is_connected_to(url: str, target: Target) -> None:
    assert parse_target(url) == target


@pytest.mark.parametrize(
    "url",
    [
        "",
        "a.example",
        "//a.example/",
        "http://a.example/",
        "file:///etc/passwd",
        "s3://bucket/key",
        "gopher://a.example/",
        "data:image/png;base64,AA==",
        "https://",
        "https:///x",
        "https:/a.example",
        "https://user@a.example/",
        "https://user:word@a.example/",
        "https://@a.example/",
        "https://a.example@127.0.0.1/",
        "https://a.example\\@b.example/",
        "https://a.example/\r\nhost: b",
        "https://a.example/ x",
        "https://a.example\t/",
        "https://a.example\x00/",
        "https://a.example:80/",
        "https://a.example:8443/",
        "https://a.example:0/",
        "https://a.example:99999/",
        "https://a.example:x/",
        "https://a.example./",
        "https://.a.example/",
        "https://a..example/",
        "https://-a.example/",
        "https://a%2eexample/",
        "https://127.1/",
        "https://127.0.1/",
        "https://2130706433/",
        "https://017700000001/",
        "https://0177.0.0.1/",
        "https://0x7f000001/",
        "https://0x7f.0.0.1/",
        "https://0x7f.1/",
        "https://127.0.0.0x1/",
        "https://a.example.0x/",
        "https://256.0.0.1/",
        "https://1.2.3.4.5/",
        "https://[::1/",
        "https://::1/",
        "https://[::1%25eth0]/",
        "https://[fe80::1%eth0]/",
        "https://[127.0.0.1]/",
        "https://[v1.a]/",
        "https://１２７。１/",
        "https://２１３０７０６４３３/",
        "https://☃☃☃\u200b.example.../",
        "https://" + "a" * 64 + ".example/",
        "https://" + "a." * 130 + "example/",
        "https://a.example/" + "x" * 9000,
    ],
)
def test_other_forms_are_refused(url: str) -> None:
    with pytest.raises(RefusedAddress):
        parse_target(url)


def test_full_width_digits_are_read_as_the_address_that_they_are() -> None:
    assert parse_target("https://１２７.０.０.１/").host == "127.0.0.1"
    assert not is_public("127.0.0.1")


@given(st.text(max_size=40))
def test_any_text_is_a_target_or_refused(text: str) -> None:
    for url in (text, f"https://{text}", f"https://a.example/{text}", f"https://a.example:{text}"):
        try:
            target = parse_target(url)
        except RefusedAddress:
            continue
        assert target.port == 443
        assert target.path.isascii()
        assert not set(target.host) & set("@/\\?#% \r\n\t\x00")
        assert not set(target.path) & set(" \r\n\t\x00\\#")
