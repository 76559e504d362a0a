"""QR codes are those of the standard: compared, module by module, with codes that another program made (qrcode 8, masks forced)."""

import hashlib

import pytest

from gateway.dashboard.qr import matrix, svg

HELLO = """
#######.##.#..#######
#.....#..##.#.#.....#
#.###.#..####.#.###.#
#.###.#.#..#..#.###.#
#.###.#.#...#.#.###.#
#.....#.#.##..#.....#
#######.#.#.#.#######
........#####........
#...#.######.#####..#
...###..#.###..#.####
#.##..#.#.##..###..#.
###..#...#...##.#....
..#.###..#..###...##.
........###.###..#.##
#######.##..##...#.#.
#.....#....##..#...#.
#.###.#.#..#..###.#.#
#.###.#....##....#.##
#.###.#..###..####...
#.....#..#...##......
#######.#...#####.#.#
"""
URI = "otpauth://totp/Tollway:ann%40example.com?secret=ABCDEFGHIJKLMNOPQRSTUVWXYZ234567&issuer=Tollway"


def test_a_short_text_is_the_code_that_is_known() -> None:
    assert ["".join(".#"[dark] for dark in row) for row in matrix("HELLO")] == HELLO.split()


def test_an_authenticators_address_is_the_code_that_is_known() -> None:
    rows = matrix(URI)
    bits = "".join("01"[dark] for row in rows for dark in row)
    assert (len(rows), hashlib.sha256(bits.encode()).hexdigest()[:16]) == (41, "b5ac1e2207a367b0")


@pytest.mark.parametrize(("length", "size"), [(1, 21), (14, 21), (15, 25), (106, 41), (213, 57), (214, 61), (666, 97)])
def test_the_smallest_version_is_taken(length: int, size: int) -> None:
    assert len(matrix("x" * length)) == size


def test_a_text_that_is_too_long_is_refused_and_a_picture_holds_no_text() -> None:
    with pytest.raises(ValueError, match="too long"):
        matrix("x" * 667)
    picture = svg("<script>")
    assert "script" not in picture
    assert 'fill="#fff"' in picture
