"""What a page says after a deed: `?done=` names one of these, so that no address can make a page say anything else."""

from typing import Final

NOTICES: Final = {
    "account.chosen": "You are looking at another account now.",
    "account.named": "The account has its new name.",
    "key.changed": "The key is changed; it takes effect within a second.",
    "key.revoked": "The key is revoked: within a second nothing works with it any more.",
    "signed.out": "You are signed out.",
}
