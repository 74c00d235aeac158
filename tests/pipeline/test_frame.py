"""Tickets and formats on the wire."""

from fractions import Fraction

import pytest

from pipeline.errors import WireError
from pipeline.frame import StreamFormat, Ticket, TicketFlag


def test_a_ticket_survives_the_wire() -> None:
    """Every field comes back as it was sent, at the ends of its range too."""
    ticket = Ticket(254, 0xFFFFFFFF, 2**63, -5, stream=15, epoch=7, flags=TicketFlag.GAP)

    assert Ticket.from_bytes(ticket.to_bytes()) == ticket


@pytest.mark.parametrize("damage", [lambda part: part[:-1], lambda part: part + b"x", lambda part: b"\0\0" + part[2:]])
def test_a_part_that_is_no_ticket_is_refused(damage) -> None:
    """Wrong size or wrong magic number raise WireError, nothing else."""
    part = Ticket(1, 2, 3, 4).to_bytes()

    with pytest.raises(WireError):
        Ticket.from_bytes(damage(part))


def test_a_ticket_of_another_version_is_refused() -> None:
    """The version is checked and named."""
    part = bytearray(Ticket(1, 2, 3, 4).to_bytes())
    part[3] += 1

    with pytest.raises(WireError, match="version 2"):
        Ticket.from_bytes(bytes(part))


def test_a_format_survives_json() -> None:
    """The rate stays an exact fraction."""
    format = StreamFormat(1280, 720, Fraction(30000, 1001), is_live=False, source="clip.mp4", n_frames=7)

    assert StreamFormat.from_json(format.to_json()) == format
