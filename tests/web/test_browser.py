"""The page in a real browser: what is dropped there gets an answer that can be seen.

Chromium and its driver are Debian's packages `chromium` and `chromium-driver`.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import segvit

pytest.importorskip("gradio", reason='the web page needs Gradio: pip install -e ".[demo]"')
pytest.importorskip("selenium", reason='the browser needs Selenium: pip install -e ".[dev]"')

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
if not (BROWSER and DRIVER):
    pytest.skip(
        "NO BROWSER, THE WEB PAGE IS NOT TESTED IN ONE: apt-get install chromium chromium-driver",
        allow_module_level=True,
    )

pytestmark = pytest.mark.slow

APP = Path(segvit.__file__).parents[1] / "demo" / "app.py"
# For a machine that does much else.
PATIENCE = 240


@pytest.fixture
def address(tiny_model, tmp_path):
    """Where the page is; it ends with the test."""
    config, weights = tiny_model
    command = [
        sys.executable,
        APP,
        "--config-file",
        config,
        "--weights",
        weights,
        "--port",
        "0",
        "--max-megabytes",
        "1",
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": str(tmp_path)}
    with open(tmp_path / "app.log", "w+") as log:
        app = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=log, text=True, env=environment)
        try:
            line = app.stdout.readline().strip()
            assert line.startswith("http://127.0.0.1:"), f"{line}\n{(tmp_path / 'app.log').read_text()}"
            yield line
        finally:
            app.terminate()
            try:
                app.wait(PATIENCE)
            finally:
                app.kill()
                app.wait()
                app.stdout.close()
    assert not list(tmp_path.glob("segvit-web-*")), "the temporary folder is removed"


@pytest.fixture
def browser(tmp_path):
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.add_argument("--window-size=1200,1100")
    options.add_argument(f"--user-data-dir={tmp_path / 'profile'}")
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=DRIVER))
    driver.set_page_load_timeout(PATIENCE)
    driver.set_script_timeout(PATIENCE)
    yield driver
    driver.quit()


class Visitor:
    """Somebody before the page."""

    def __init__(self, browser, address):
        self.browser, self.address = browser, address

    def until(self, condition):
        return WebDriverWait(self.browser, PATIENCE).until(lambda browser: condition())

    def text(self, selector):
        """What is to be read there, in one moment: the page may replace an element while it is asked for."""
        script = "return [...document.querySelectorAll(arguments[0])].map(element => element.innerText).join(' ')"
        return self.browser.execute_script(script, selector)

    def source(self, selector):
        """The address of the picture there, once it is loaded; None while there is none."""
        script = (
            "const found = document.querySelector(arguments[0] + ' img');"
            "return found && found.complete && found.naturalWidth > 0 ? found.src : null"
        )
        return self.browser.execute_script(script, selector)

    def drop(self, path):
        """Open the page anew and upload a file."""
        self.browser.get(self.address)
        (field,) = self.until(lambda: self.browser.find_elements(By.CSS_SELECTOR, "#upload input[type=file]"))
        field.send_keys(str(path))

    def answer(self):
        """What the page says of a picture that it took; while it works it shows the seconds in that place."""

        def said():
            text = self.text("#status")
            return text if "pixels" in text else None

        return self.until(said)

    def set_number(self, selector, value):
        """Type a number into a field, as the page's scripts notice it."""
        script = (
            "const field = document.querySelector(arguments[0]);"
            "Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, 'value').set.call(field, arguments[1]);"
            "field.dispatchEvent(new Event('input', {bubbles: true}));"
        )
        self.browser.execute_script(script, selector, str(value))


def test_the_page(address, browser, send_me, tmp_path):
    visitor = Visitor(browser, address)
    visitor.drop(send_me("plain"))
    assert "88 x 60 pixels" in visitor.answer() and "tokens kept" in visitor.answer()
    sources = [visitor.until(lambda name=name: visitor.source(name)) for name in ("#overlay", "#mask", "#kept")]
    assert "class " in visitor.text("#areas") and "%" in visitor.text("#areas")
    browser.save_screenshot(str(tmp_path / "page.png"))
    shown = np.asarray(Image.open(tmp_path / "page.png").convert("RGB"))
    assert len(np.unique(shown.reshape(-1, 3), axis=0)) > 1000, "noise under colours is to be seen"
    visitor.set_number("#opacity input[type=range]", 0)
    visitor.until(lambda: visitor.source("#overlay") not in (None, sources[0]))
    field = browser.find_element(By.CSS_SELECTOR, "#class input")
    field.click()
    field.send_keys(Keys.CONTROL, "a")
    field.send_keys("class 1", Keys.ENTER)
    visitor.until(lambda: "Mask of class 1" in visitor.text("#mask"))
    visitor.until(lambda: visitor.source("#mask") not in (None, sources[1]))
    browser.find_element(By.CSS_SELECTOR, "#upload button[aria-label=Clear]").click()
    visitor.until(lambda: visitor.source("#overlay") is None and not visitor.text("#areas").strip())
    elsewhere = "return performance.getEntriesByType('resource').map(e => e.name).filter(n => !n.startsWith(origin))"
    assert not [name for name in browser.execute_script(elsewhere) if name.startswith("http")]

    for kind in ("palette", "alpha", "16-bit"):
        visitor.drop(send_me(kind))
        assert "88 x 60 pixels" in visitor.answer(), kind
        visitor.until(lambda: visitor.source("#overlay"))

    for kind, reason in (("text", "text.png is no picture"), ("100-megapixel", "too many megapixels: 100.0")):
        visitor.drop(send_me(kind))
        visitor.until(lambda: "Refused" in visitor.text("#status"))
        assert reason in visitor.text("#status")
        assert not visitor.text("#areas").strip() and visitor.source("#overlay") is None

    large = tmp_path / "large.png"
    large.write_bytes(b"0" * 2_000_000)
    visitor.drop(large)
    visitor.until(lambda: "Error" in visitor.text("#upload"))
    assert "up to 1 MB and 50 megapixels" in visitor.text("body")
