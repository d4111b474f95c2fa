import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.feature_extraction.text import TfidfVectorizer

from lodestream.ml import lexical
from lodestream.ml.lexical import BUCKETS, Lexicon, count

WORDS = [
    "please cancel my booking for tomorrow",
    "the gym opens at six",
    "cancel the gym booking",
    "six people at the restaurant tomorrow",
]


def blocks(texts):
    counts = count(texts)
    return Lexicon.fit(counts).transform(counts)


def test_words_and_pairs_weigh_as_scikit_learn_weighs_them():
    words, _ = blocks(WORDS)
    reference = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True).fit_transform(WORDS)
    np.testing.assert_allclose(
        (words @ words.T).toarray(), (reference @ reference.T).toarray(), atol=1e-6
    )


def test_character_runs_are_those_of_scikit_learn_inside_words():
    # scikit-learn also counts a whole word that is shorter than a run; here words have 3 letters.
    texts = ["abcd xyz", "abce xyz", "qqq abcd"]
    _, runs = blocks(texts)
    reference = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), sublinear_tf=True)
    product = reference.fit_transform(texts)
    np.testing.assert_allclose(
        (runs @ runs.T).toarray(), (product @ product.T).toarray(), atol=1e-6
    )


@settings(deadline=None)
@given(st.lists(st.text(), max_size=8))
def test_any_text_has_finite_rows_of_length_one_or_none(texts):
    for block in blocks(texts):
        assert np.isfinite(block.data).all()
        length = np.sqrt(block.power(2).sum(axis=1))
        assert np.all((np.abs(length - 1) < 1e-5) | (length == 0))


@settings(deadline=None)
@given(st.lists(st.text(max_size=30), min_size=1, max_size=6), st.text(max_size=30))
def test_a_text_has_the_same_features_in_any_company(texts, other):
    among = count([*texts, other, *texts])[[len(texts)]]
    assert (among != count([other])).nnz == 0


def test_case_punctuation_and_space_do_not_count():
    counts = count(["Cancel, my\tBOOKING!", "cancel my booking"])
    assert (counts[[0]] != counts[[1]]).nnz == 0


@pytest.mark.parametrize(
    ("one", "other"),
    [("我要取消预订", "请取消我的预订"), ("予約をキャンセル", "キャンセルしたい"), ("😀🎉", "🎉!")],
)
def test_scripts_without_spaces_and_emoji_share_features(one, other):
    words, _ = blocks([one, other, "something else"])
    alike = (words @ words.T).toarray()
    assert alike[0, 1] > 0
    assert alike[0, 2] == 0


def test_an_unseen_word_makes_a_text_less_like_any_other():
    lexicon = Lexicon.fit(count(WORDS))
    words, _ = lexicon.transform(count(["cancel", "cancel zyxwv", "zyxwv"]))
    lengths = np.sqrt(words.power(2).sum(axis=1))
    assert lengths[0] == pytest.approx(1)
    assert 0 < lengths[1] < 0.9
    assert lengths[2] == 0


def test_texts_without_words_have_empty_rows():
    assert count(["", "  \n", "?!…"]).nnz == 0
    assert count([]).shape == (0, 2 * BUCKETS)


def test_only_the_beginning_of_a_very_long_text_is_read():
    long = "word " * 300_000
    assert (count([long]) != count([long[: lexical.LONGEST]])).nnz == 0


def test_ten_thousand_short_texts_take_less_than_a_second_of_processor_time():
    texts = [f"please cancel booking number {i} for {i % 7} people tomorrow" for i in range(10_000)]
    count(texts[:10])
    start = time.process_time()
    count(texts)
    assert time.process_time() - start < 1
