import pytest

from lodestream.domain.errors import Unprocessable
from lodestream.domain.secrets import Keyring, new_key

OLD, NEW = new_key(), new_key()


def test_what_was_sealed_opens_for_its_owner_only() -> None:
    keys = Keyring(OLD)
    sealed = keys.seal("a", {"password": "hunter2"})
    assert "hunter2" not in sealed
    assert keys.unseal("a", sealed) == {"password": "hunter2"}
    assert keys.unseal("a", None) == {}
    with pytest.raises(Unprocessable):
        keys.unseal("b", sealed)


def test_after_a_rotation_the_old_key_is_not_needed_any_more() -> None:
    sealed = Keyring(OLD).seal("a", {"password": "hunter2"})
    assert not Keyring(NEW).opens("a", sealed)
    both = Keyring(f"{NEW}, {OLD}")
    assert both.opens("a", sealed)
    again = both.resealed("a", sealed)
    assert Keyring(NEW).unseal("a", again) == {"password": "hunter2"}
    assert not Keyring(OLD).opens("a", again)


def test_without_a_key_nothing_is_sealed_and_the_message_says_how_to_get_one() -> None:
    with pytest.raises(Unprocessable, match="lodestream secret new-key"):
        Keyring("").seal("a", {"password": "p"})


def test_a_bad_key_is_refused_without_being_shown() -> None:
    with pytest.raises(ValueError, match="key 2") as told:
        Keyring(f"{OLD},verysecretbutwrong")
    assert "verysecret" not in str(told.value)
    assert OLD not in repr(Keyring(OLD))
