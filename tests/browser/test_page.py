"""The page in a real browser: it opens, filters, enlarges, prints, and fetches nothing."""

import json
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from chromium import MISSING, browser, chromium

import coset_circuits as cc
from coset_circuits.networks import planted_coset, save
from coset_circuits.report import tables

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(chromium() is None, reason=MISSING),
]

HOSTILE = "</script><script>document.title='taken'</script><img src=x onerror=alert(1)>&amp;"


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """Neurons of C2 in S3, two of them spoilt, its names hostile, with checkpoints beside it."""
    s3 = cc.group("S3")
    labels = [f"{HOSTILE}{label}" for label in s3.labels]
    network = planted_coset(cc.FiniteGroup.from_table(s3.table, HOSTILE, labels), "C2")
    network.W_E_left.data[:, :2] += 3 * network.W_E_left.data[[1, 0, 3, 5, 4, 2], 2:4]
    run = tmp_path_factory.mktemp("run")
    for step in (0, 10, 100):
        path = run / "checkpoints" / f"step-{step:06d}.safetensors"
        save(network.float(), path, card=False)
    network = network.double()
    network.label = HOSTILE
    curve = [
        {"step": s, "train_loss": 1 / s, "loss": 9 / s, "train_accuracy": 1.0, "test_accuracy": 0.5}
        for s in (1, 10, 100)
    ]
    network.provenance = {**network.provenance, "path": str(run), "curve": curve}
    return network


@pytest.fixture(scope="module")
def comparison(network):
    return cc.compare(network)


@pytest.fixture(scope="module")
def report(comparison, tmp_path_factory):
    return comparison.save(tmp_path_factory.mktemp("report")) / "report.html"


@pytest.fixture(scope="module")
def chrome():
    path = chromium()
    assert path is not None
    with browser(path) as opened:
        yield opened


@pytest.fixture(scope="module")
def many(network, tmp_path_factory):
    """The page of two networks of one kind, one of another, and a file that is none."""
    folder = tmp_path_factory.mktemp("networks")
    (folder / "bad.pt").write_bytes(b"nonsense")
    other = network.unhooked()
    other.W_E_left.data *= 1.01
    given = [network, other, planted_coset(cc.group("S4"), "S3"), folder / "bad.pt"]
    out = tmp_path_factory.mktemp("many")
    return cc.compare(given, [cc.CosetAlgorithm()], out=out).save(out) / "report.html"


@pytest.fixture
def page(chrome, report):
    """The page, just opened; what it did in a test must have raised no complaint."""
    chrome.prefer("light")
    chrome.open(report)
    chrome.settle()
    yield chrome
    assert chrome.errors == []
    assert chrome.requests == [report.resolve().as_uri()]


def shown(page):
    """The neurons in the gallery, in its order."""
    return page.evaluate("[...document.querySelectorAll('.neuron')].map(e => +e.dataset.neuron)")


def roles(comparison, name):
    return comparison.candidate(name).circuit.roles.names


def test_hostile_names_are_text(page):
    assert page.evaluate("document.title") == f"Which algorithm explains {HOSTILE}?"
    assert (
        page.evaluate("document.querySelectorAll('img, script:not(:last-of-type)[src]').length")
        == 0
    )
    assert page.evaluate("document.querySelectorAll('script').length") == 2


def test_findings_open_by_mouse_and_key(page, comparison):
    visible = "[...document.querySelectorAll('tr.more')].filter(e => e.offsetHeight).length"
    assert page.evaluate(visible) == 0
    page.click(".findings button")
    assert page.evaluate(visible) == 1
    assert page.evaluate("document.activeElement.getAttribute('aria-expanded')") == "true"
    words = page.evaluate("document.querySelector('tr.more.shown').innerText")
    assert all(word in words for word in ("control", "method", "seed 0", "import coset_circuits"))
    page.press("Enter")
    assert page.evaluate(visible) == 0
    page.click("#open-all")
    assert page.evaluate(visible) == len(comparison.rows)


@pytest.mark.parametrize("family", range(2))
def test_roles_are_those_of_the_hypothesis(page, comparison, family):
    page.choose("#filter-family", str(family))
    name = page.evaluate(f"document.querySelector('#filter-family').options[{family}].text")
    assert name == tables.role_families(comparison)[family].title
    own = roles(comparison, tables.role_families(comparison)[family].names[0])
    offered = page.evaluate("[...document.querySelector('#filter-role').options].map(o => o.value)")
    assert sorted(offered) == sorted({"", *own})
    for role in set(own):
        page.choose("#filter-role", role)
        assert sorted(shown(page)) == [j for j, other in enumerate(own) if other == role]


def test_filters_combine_and_are_taken_back(page, comparison, network):
    own = comparison.candidate("coset").circuit.roles
    width = network.cfg.d_mlp
    assert sorted(shown(page)) == list(range(width))
    page.choose("#filter-residual", ">0.01")
    worse = (own.fvu_left.maximum(own.fvu_right) > 0.01).nonzero()[:, 0].tolist()
    assert sorted(shown(page)) == worse and 0 < len(worse) < width
    page.choose("#filter-class", "C2")
    assert shown(page) == []
    told = page.evaluate("document.querySelector('#gallery-count').textContent")
    assert told == f"0 of {width} neurons shown"
    page.choose("#filter-residual", "")
    assert sorted(shown(page)) == [j for j, role in enumerate(own.names) if role == "C2"]
    page.click("#reset")
    page.choose("#filter-sort", "number")
    assert shown(page) == list(range(width))
    irrep = page.evaluate("document.querySelector('#filter-irrep').options[1].value")
    page.choose("#filter-irrep", irrep)
    strongest = comparison.candidate("irrep").circuit.roles.notes["strongest"]
    assert shown(page) == [j for j, name in enumerate(strongest) if name == irrep]


def test_a_class_of_the_lattice_shows_its_neurons(page, comparison):
    page.click("[data-class='C2'] text")
    own = roles(comparison, "coset")
    assert sorted(shown(page)) == [j for j, role in enumerate(own) if role == "C2"]


def test_the_gallery_works_from_the_keyboard(page):
    focused = "+document.activeElement.dataset.neuron"
    page.evaluate("document.querySelector('.neuron[tabindex=\"0\"]').focus()")
    order = shown(page)
    page.press("ArrowRight")
    assert page.evaluate(focused) == order[1]
    page.press("End")
    assert page.evaluate(focused) == order[-1]
    page.press("Home")
    page.press("Enter")
    title = "document.querySelector('#enlarged[open] h3').textContent"
    assert page.evaluate(title) == f"Neuron {order[0]}"
    page.press("ArrowRight")
    assert page.evaluate(title) == f"Neuron {order[1]}"
    page.press("Escape")
    assert page.evaluate("document.querySelector('#enlarged').open") is False
    assert page.evaluate(focused) == order[1]
    assert page.evaluate("document.querySelectorAll('.neuron[tabindex=\"0\"]').length") == 1


def test_an_enlarged_neuron_has_the_means_of_its_cosets(page, comparison, network):
    circuit = comparison.candidate("coset").circuit
    j = circuit.roles.names.index("C2")
    page.click(f"[data-neuron='{j}']")
    rows = page.evaluate(
        "[...document.querySelectorAll('#enlarged-levels tr')]"
        ".map(r => [...r.cells].map(c => c.textContent))"
    )
    labels = circuit.classes("hook_left_pre")[0].left[:, j]
    table = network.left_table[:, j].detach()
    expected = sorted(float(table[labels == cell].mean()) for cell in labels.unique())
    left = [float(row[3]) for row in rows if row[0].startswith("left")]
    # Three digits of values that are told in steps of 1/255 of the neuron's range.
    assert left == pytest.approx(expected, abs=float(table.max() - table.min()) / 100)
    products = circuit.classes("hook_post")[0].product[:, j]
    double = [row for row in rows if row[0].startswith("unembedding")]
    assert len(double) == len(products.unique())
    x = network.group.labels.index(circuit.roles.notes["conjugator"][j])
    shared = next(row for row in double if "shared" in row[0])
    assert int(shared[2]) == int((products == products[x]).sum())


def test_pictures_are_drawn(page):
    page.evaluate("document.querySelector('#gallery').scrollIntoView({behavior: 'instant'})")
    page.settle()
    page.settle()
    coloured = page.evaluate(
        "(() => { const c = document.querySelector('.neuron canvas');"
        "return c.getContext('2d').getImageData(0, 0, c.width, c.height).data"
        ".filter((v, i) => i % 4 === 3 && v > 0).length })()"
    )
    assert coloured > 200
    page.click(".neuron")
    names = page.evaluate(
        "[...document.querySelectorAll('#enlarged canvas')].map(c => c.getAttribute('aria-label'))"
    )
    assert len(names) == 5 and all(len(name) > 40 for name in names)


def test_everything_has_a_name_for_a_screen_reader(page):
    page.click(".neuron")
    opened = page.names()
    page.press("Escape")
    found = [*page.names(), *opened]
    needing = {"button", "combobox", "dialog", "image", "img", "region", "form"}
    assert [role for role, name in found if role in needing and not name.strip()] == []
    assert ("group", "Neurons") in found
    told = [name for role, name in found if role == "button"]
    assert any("leading irrep" in name and "residual" in name for name in told)


@pytest.mark.parametrize("width", [320, 400, 768, 1280])
def test_nothing_sticks_out(page, width):
    page.resize(width, 800)
    page.settle()
    page.click("#open-all")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.click(".neuron")
    assert page.evaluate("document.querySelector('#enlarged').scrollWidth") <= width


BOXES = (
    "[...document.querySelectorAll('.scroll')]"
    ".filter(b => b.offsetHeight && !b.closest('details:not([open])'))"
    ".map(b => [b.scrollWidth > b.clientWidth + 1, ...['fits', 'beyond'].map(c =>"
    "b.classList.contains(c)), b.tabIndex])"
)


@pytest.mark.parametrize("width", [400, 1280])
def test_what_goes_on_sideways_says_so_and_can_be_reached(page, width):
    page.resize(width, 800)
    page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true })")
    page.settle()
    page.settle()
    found = page.evaluate(BOXES)
    # Six hypotheses with their controls fit an ordinary screen, opened details too.
    assert len(found) > 10 and any(wide for wide, *_ in found) == (width < 1280)
    for wide, fits, beyond, tab in found:
        assert (fits, beyond, tab) == ((False, True, 0) if wide else (True, False, -1))


def test_the_page_opens_with_the_sentence_the_figure_and_the_table(page, comparison):
    first = "document.querySelector('section')"
    assert page.evaluate(f"{first}.firstElementChild.textContent") == comparison.verdict.sentence
    kinds = page.evaluate(f"[...{first}.children].map(e => e.tagName)")
    assert kinds == ["P", "FIGURE", "DIV", "DETAILS"]
    names = page.evaluate(f"[...{first}.querySelectorAll('tbody th')].map(e => e.textContent)")
    told = [c.name for c in comparison.candidates if c.kind != "control"]
    assert sorted(names) == sorted(told)
    opened = "[...document.querySelectorAll('details')].filter(d => d.open).length"
    assert page.evaluate(opened) == 0


def test_the_fade_goes_at_the_end(page):
    page.resize(400, 800)
    page.settle()
    box = "document.querySelector('.scroll.beyond')"
    page.evaluate(f"window.box = {box}; box.scrollTo({{left: 1e6, behavior: 'instant'}})")
    page.settle()
    page.settle()
    assert page.evaluate("[box.classList.contains('beyond'), box.tabIndex]") == [False, 0]


def test_nine_hypotheses_fit_1100_pixels(page):
    """Seven and the two with the longest names and figures once more."""
    page.resize(1100, 800)
    page.evaluate(
        "for (const row of document.querySelectorAll('.findings > * > tr:not(.more)')) {"
        "const own = [...row.querySelectorAll(':scope > .guess')];"
        "for (let i = own.length; i < 9; i++) {"
        "const cell = own.at(-1).cloneNode();"
        "cell.innerHTML = cell.tagName === 'TH' ? 'irrep-<wbr>projected+<wbr>even+<wbr>joint'"
        ": '1.2e-12<small>(12.34)</small>'; own.at(-1).after(cell); } }"
    )
    page.settle()
    cells = "document.querySelector('.findings tbody tr').cells.length"
    assert page.evaluate(cells) == 13
    width = "(e => e.scrollWidth - e.clientWidth)(document.querySelector('.findings').parentNode)"
    assert page.evaluate(width) <= 0


def test_the_head_of_the_findings_stays_in_sight(page):
    last = "document.querySelector('.findings > tbody > tr:nth-last-child(2)')"
    page.evaluate(f"{last}.scrollIntoView({{block: 'center', behavior: 'instant'}})")
    page.settle()
    top = "document.querySelector('.findings th').getBoundingClientRect().top"
    bottom = "document.querySelector('nav').getBoundingClientRect().bottom"
    assert page.evaluate("scrollY") > 0
    assert page.evaluate(f"{top} - {bottom}") == pytest.approx(0, abs=4)


def test_dark_is_dark(page):
    background = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(background)
    page.prefer("dark")
    assert page.evaluate(background) != light == "rgb(255, 255, 255)"


def test_it_prints(page):
    page.evaluate("window.addEventListener('afterprint', () => { window.printed = true })")
    assert page.pdf().startswith(b"%PDF")
    assert page.evaluate("window.printed") is True


def test_without_its_script_the_page_has_its_words(chrome, report, comparison):
    chrome.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        chrome.open(report)
        told = " ".join(name for role, name in chrome.names() if role == "StaticText")
    finally:
        chrome.call("Emulation.setScriptExecutionDisabled", value=False)
    for row in comparison.rows:
        assert row.intervention.title in told
    assert told.count("To repeat this in Python") >= len(comparison.rows)
    assert "Turn on scripts" in told


@pytest.mark.parametrize("width", [320, 400, 1100, 1280])
def test_the_page_of_many_networks(chrome, many, width):
    chrome.open(many, width=width)
    chrome.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true })")
    chrome.settle()
    chrome.settle()
    assert chrome.errors == [] and chrome.requests == [many.resolve().as_uri()]
    assert chrome.evaluate("document.documentElement.scrollWidth") <= width
    for wide, fits, beyond, tab in chrome.evaluate(BOXES):
        assert (fits, beyond, tab) == ((False, True, 0) if wide else (True, False, -1))
    needing = {"image", "img", "region", "navigation", "link"}
    assert [role for role, name in chrome.names() if role in needing and not name.strip()] == []
    assert chrome.pdf().startswith(b"%PDF")


def test_the_page_of_many_networks_leads_to_its_parts_and_to_each_report(chrome, many):
    chrome.open(many)
    links = "[...document.querySelectorAll('nav a')].map(a => [a.hash, a.textContent])"
    told = dict(chrome.evaluate(links))
    assert list(told) == ["#across-0", "#across-1", "#networks", "#skipped", "#how"]
    assert told["#across-0"].startswith(HOSTILE) and told["#across-1"].startswith("S4")
    there = "[...document.querySelectorAll('nav a')].every(a => document.querySelector(a.hash))"
    assert chrome.evaluate(there)
    assert chrome.evaluate(
        "document.querySelector('#skipped').nextElementSibling.textContent"
    ).count("bad.pt")
    reports = chrome.evaluate("[...document.querySelectorAll('td a, th a')].map(a => a.href)")
    assert len(reports) == 3
    for report in reports:
        assert Path(unquote(urlsplit(report).path)).is_file()
    # What explains in green, refuted in red: as many as the verdicts say.
    marks = "[...document.querySelectorAll('td.explains')].map(e => e.textContent)"
    explaining = [
        name
        for network in json.loads((many.parent / "findings.json").read_text())["networks"]
        for name in network["verdict"]["explained_by"]
    ]
    assert chrome.evaluate(marks) == ["+"] * len(explaining)
    assert explaining


def test_the_data_are_json_whatever_the_names(report):
    text = report.read_text(encoding="utf-8")
    start = text.index('id="neuron-data">') + len('id="neuron-data">')
    data = text[start : text.index("</script>", start)]
    assert "<" not in data and ">" not in data and "&" not in data
    assert json.loads(data)["labels"][0].startswith(HOSTILE)


def test_a_page_on_which_no_hypothesis_applies_works(chrome, tmp_path):
    prime = cc.GroupMLP.initialised(cc.group("C5"), d_mlp=4, d_embed=4, seed=0)
    out = cc.compare(prime, [cc.CosetAlgorithm()]).save(tmp_path)
    chrome.open(out / "report.html")
    chrome.settle()
    assert chrome.errors == []
    headings = chrome.evaluate("[...document.querySelectorAll('h2')].map(e => e.innerText)")
    assert "Interventions" in headings and "What the neurons do" not in headings
