"""Ids of generations: OpenRouter's form, in the order of time, and not to be guessed."""

import re

from gateway.ids import Ids

NOON_MS = 1_790_000_000_000


def test_the_id_of_a_generation_has_the_form_that_openrouters_clients_know() -> None:
    assert re.fullmatch(r"gen-1790000000-[0-9a-zA-Z]{20}", Ids().generation(NOON_MS + 999))


def test_ids_sort_by_the_millisecond_by_every_collation() -> None:
    ids, moments = Ids(), range(NOON_MS - 1500, NOON_MS + 1500)
    found = [ids.generation(moment) for moment in moments]
    assert found == sorted(found)
    begins = [id[:17] for id in found]
    assert begins == sorted(begins, key=str.casefold), "a collation without case orders them alike"
    assert len(set(begins)) == len(moments)


def test_no_two_ids_of_a_millisecond_are_alike_and_their_random_part_uses_every_letter() -> None:
    ids = Ids()
    randoms = {ids.generation(NOON_MS)[17:] for _ in range(10_000)}
    assert len(randoms) == 10_000
    assert len(set("".join(randoms))) == 62
