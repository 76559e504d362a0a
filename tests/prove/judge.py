"""Compares what clients saw, what the provider booked and what the ledger says, generation by generation."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

from metering.batch import OPEN, RECOVERED, SETTLED, VOID
from tests.prove.client import Seen
from tests.prove.rig import Ended, charge_for, prompt_bound


@dataclass
class Verdict:
    """Counts, nano-USD, and a line for every violation. `late` is how many tokens a recovered charge was behind its client, at most.

    `served` are the provider's own records, `reconciled` those that agree with our row to the token, and `borne` the completion tokens
    that the provider bills for answers that a blow cut off and nobody was charged for.
    """

    generations: int = 0
    complete: int = 0
    recovered: int = 0
    recovered_charged: int = 0
    lost: int = 0
    overcharged: int = 0
    late: int = 0
    charged: int = 0
    served: int = 0
    reconciled: int = 0
    borne: int = 0
    states: Counter[int] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)


def judge(seen: list[Seen], ended: dict[str, Ended], provider: list[dict[str, Any]]) -> Verdict:
    """`provider` is the fake's ledger, in which a prompt stands for its request."""
    verdict = Verdict()
    emitted: Counter[str] = Counter()
    for row in provider:
        if row["request_body"]:
            emitted[row["request_body"]["messages"][0]["content"]] += row["completion_tokens"]
    for each in seen:
        _judge_one(each, ended.get(each.generation_id), emitted[each.prompt], verdict)
    _reconcile(seen, ended, provider, verdict)
    unseen = set(ended) - {each.generation_id for each in seen}
    for id in unseen:  # the client was cut off before it had the headers: it had nothing
        verdict.states[ended[id].state] += 1
        verdict.charged += ended[id].charge
        if ended[id].state == OPEN or (ended[id].state == RECOVERED and ended[id].charge):
            verdict.violations.append(f"{id}: its client had nothing, and it is {ended[id]}")
    return verdict


def _reconcile(seen: list[Seen], ended: dict[str, Ended], provider: list[dict[str, Any]], verdict: Verdict) -> None:
    """The provider's bill beside our books: each record is one of our attempts, and what was told to a client is billed to the token."""
    billed: dict[str, Counter[str]] = defaultdict(Counter)
    for row in provider:
        if row["request_body"]:
            billed[row["request_body"]["messages"][0]["content"]].update(row["billed_tokens"])
    verdict.served += len(billed)
    known = {each.prompt: ended[each.generation_id] for each in seen if each.generation_id in ended}
    told = {each.prompt for each in seen if each.cost is not None}
    for prompt, bill in billed.items():
        found, tokens = known.get(prompt), (bill["prompt_tokens"], bill["completion_tokens"])
        if prompt not in told or found is None or found.state != SETTLED or found.usage_source != "provider":
            verdict.borne += max(0, tokens[1] - ((found.completion or 0) if found else 0))
        elif (found.prompt, found.completion) != tokens:
            verdict.violations.append(f"{prompt}: the provider bills {tokens}, we charged {(found.prompt, found.completion)}")
        else:
            verdict.reconciled += 1
    unknown, unseen = len(set(billed) - set(known)), len(ended) - len(known)
    if unknown > unseen:
        verdict.violations.append(f"the provider served {unknown} requests that no client can name, and we know of {unseen}")


def _judge_one(seen: Seen, found: Ended | None, emitted: int, verdict: Verdict) -> None:
    """A refusal before the hold leaves nothing behind; everything else has a hold, which has ended."""
    verdict.generations += 1
    wrong = verdict.violations.append
    if found is None:
        if seen.words or seen.done:
            verdict.lost += charge_for(prompt=0, completion=seen.words)
            wrong(f"{seen.generation_id} was answered ({seen.words} words), and the ledger does not know it")
        return
    verdict.states[found.state] += 1
    verdict.charged += found.charge
    if found.state == OPEN:
        wrong(f"{seen.generation_id} is still held")
    words = seen.words
    if seen.cost is not None:
        verdict.complete += 1
        _judge_told(seen, found, verdict)
        words = max(words, found.completion or 0) if seen.body else words
    elif seen.body is None and found.state == SETTLED and not words:
        words = emitted  # not streamed, settled, and cut off in the moment of the answer
    _judge_bounds(seen, found, words, emitted, verdict)


def _judge_told(seen: Seen, found: Ended, verdict: Verdict) -> None:
    """The client was told a cost: it is durable, digit for digit."""
    difference = (seen.cost or 0) - found.charge
    verdict.lost += max(0, difference)
    verdict.overcharged += max(0, -difference)
    if difference or found.state not in (SETTLED, RECOVERED):
        verdict.violations.append(f"{seen.generation_id} was told {seen.cost} and charged {found.charge} (state {found.state})")


def _judge_bounds(seen: Seen, found: Ended, words: int, emitted: int, verdict: Verdict) -> None:
    """Never charged more than was delivered to the client, nor than the provider emitted. Our own count has a last blank more."""
    last_blank = int(found.usage_source != "provider")
    bound = charge_for(prompt=prompt_bound(seen.prompt), completion=words + last_blank) if words else 0
    if found.charge > bound and not (seen.body or {}).get("choices"):
        verdict.overcharged += found.charge - bound
        verdict.violations.append(f"{seen.generation_id} got {words} words and was charged {found.completion} (state {found.state})")
    if (found.completion or 0) > emitted + last_blank:
        verdict.violations.append(f"{seen.generation_id} was charged {found.completion} tokens, the provider emitted {emitted}")
    if found.state == RECOVERED:
        verdict.recovered += 1
        verdict.recovered_charged += found.charge
        if seen.cost is None:  # a paused process goes on after its hold was recovered, and then says what was charged
            verdict.late = max(verdict.late, seen.words - (found.completion or 0))
    if found.state == VOID and found.charge:
        verdict.violations.append(f"{seen.generation_id} is void and was charged {found.charge}")
