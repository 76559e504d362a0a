"""What is charged in place of the list price: a fee where a customer's own key pays the provider, less for an account that shares.

Both are shares of the same rates (`metering/price.py`), so a charge stays exact and its arithmetic shows the share. They stand in
`TOLLWAY_BYOK_FEE_PERCENT` and `TOLLWAY_SHARING_DISCOUNT_PERCENT`; the discount is of the fee too, whose share is rounded down to a
hundredth of a percent. Which tariff holds for a generation is decided by its caller's choice, once, when it is planned.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

import msgspec

from metering.price import WHOLE_BPS, Price
from policy.caller import Caller
from policy.route import Plan
from providers.provider import Endpoint

Prices = Mapping[str, tuple[str, Price]]
"""By the id of a list price, the id and the price of what is charged."""
AS_LISTED: Final[Prices] = {}


class Tariff(NamedTuple):
    """`operators`: where the operator's key pays the provider; `own`: where the customer's own does."""

    operators: Prices
    own: Prices

    def charged(self, planned: Plan) -> Plan:
        """The plan with what each endpoint costs this caller."""
        if not self.operators and not planned.own_keys:
            return planned
        endpoints = tuple(self._charged(each, own=each.id in planned.own_keys) for each in planned.endpoints)
        return msgspec.structs.replace(planned, endpoints=endpoints)

    def _charged(self, endpoint: Endpoint, *, own: bool) -> Endpoint:
        found = (self.own if own else self.operators).get(endpoint.price_id)
        return endpoint if found is None else msgspec.structs.replace(endpoint, price_id=found[0], price=found[1])


class Tariffs(NamedTuple):
    plain: Tariff
    sharing: Tariff

    def of(self, caller: Caller) -> Tariff:
        return self.sharing if caller.choice.privacy.product_improvement else self.plain

    def prices(self) -> dict[str, Price]:
        """Every price of which a generation may be charged beside the list prices, by its id."""
        return {id: price for tariff in self for prices in tariff for id, price in prices.values()}


def tariffs(listed: Mapping[str, Price], *, fee_bps: int, discount_bps: int) -> Tariffs:
    """`listed` are the catalog's prices by their ids; the fee and the discount in basis points."""
    plain = Tariff(AS_LISTED, _shared(listed, fee_bps))
    if not discount_bps:
        return Tariffs(plain, plain)
    left = WHOLE_BPS - discount_bps
    return Tariffs(plain, Tariff(_shared(listed, left), _shared(listed, fee_bps * left // WHOLE_BPS)))


def _shared(listed: Mapping[str, Price], share_bps: int) -> Prices:
    found = ((id, price.shared(share_bps)) for id, price in listed.items())
    return {id: (shared.id, shared) for id, shared in found}
