"""Streams that outlive their client's connection: taped while they are answered, heard again by their generation's id."""

import asyncio
from typing import Final

from gateway.generation import Generation, Interrupt
from gateway.services import Services
from gateway.streaming import Writer
from policy.tapes import Tape

HEADER: Final = b"x-tollway-resumable"


def make_resumable(generation: Generation, writer: Writer, at: Services) -> None:
    """Only where the account's owner allows it; the answer's header says whether it is so. Without it a client that leaves cancels."""
    if not generation.caller.rules.resumable_streams:
        return
    clock = asyncio.get_running_loop().time
    account_id, secret = generation.caller.account_id, at.settings.secret_key
    tape = Tape(at.tapes, generation_id=generation.id, account_id=account_id, secret=secret, clock=clock)

    def lost() -> None:
        if writer.gone:
            generation.interrupt(Interrupt.CLIENT_LEFT)

    tape.on_lost, generation.detach, writer.tape = lost, writer.detach, tape
    writer.headers.append((HEADER, b"on"))
