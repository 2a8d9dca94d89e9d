"""The web page in a headless Chromium: uploads are segmented or refused, and the page reacts to its controls.

Needs Debian's packages `chromium` and `chromium-driver`; run it with `make test-browser`.
"""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from helpers.repository import PROJECT

pytestmark = [pytest.mark.slow, pytest.mark.browser]

APP = PROJECT / "demo" / "app.py"
# Seconds; long enough for a busy machine.
TIMEOUT = 240


@pytest.fixture
def address(tiny_model, tmp_path):
    """The URL of a running app.py, which is stopped after the test and removes its temporary folder."""
    pytest.importorskip("gradio", reason='the web page needs Gradio: pip install -e ".[demo]"')
    config, weights = tiny_model
    model = ["--config-file", config, "--weights", weights]
    command = [sys.executable, APP, *model, "--port", "0", "--max-megabytes", "1"]
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
                app.wait(TIMEOUT)
            finally:
                app.kill()
                app.wait()
                app.stdout.close()
    assert not list(tmp_path.glob("segvit-web-*")), "the temporary folder is removed"


@pytest.fixture
def browser(tmp_path):
    pytest.importorskip("selenium", reason='the browser test needs Selenium: pip install -e ".[dev]"')
    from selenium import webdriver

    chromium, chromedriver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and chromedriver):
        pytest.skip("NO BROWSER, THE WEB PAGE IS NOT TESTED: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.add_argument("--window-size=1200,1100")
    options.add_argument(f"--user-data-dir={tmp_path / 'profile'}")
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=chromedriver))
    driver.set_page_load_timeout(TIMEOUT)
    driver.set_script_timeout(TIMEOUT)
    yield driver
    driver.quit()


class PageDriver:
    """Actions on the page and reads of its elements, by CSS selector."""

    def __init__(self, browser, address):
        self.browser, self.address = browser, address

    def wait_for(self, condition):
        """The value of the condition once it is true."""
        from selenium.webdriver.support.ui import WebDriverWait

        return WebDriverWait(self.browser, TIMEOUT).until(lambda browser: condition())

    def text(self, selector):
        """The visible text, read in one script because the page may replace an element between two calls."""
        script = "return [...document.querySelectorAll(arguments[0])].map(element => element.innerText).join(' ')"
        return self.browser.execute_script(script, selector)

    def image_source(self, selector):
        """The URL of the image inside the element once it is loaded; else None."""
        script = (
            "const image = document.querySelector(arguments[0] + ' img');"
            "return image && image.complete && image.naturalWidth > 0 ? image.src : null"
        )
        return self.browser.execute_script(script, selector)

    def upload(self, path):
        """Reload the page and upload a file."""
        self.browser.get(self.address)
        (field,) = self.wait_for(lambda: self.browser.find_elements("css selector", "#upload input[type=file]"))
        field.send_keys(str(path))

    def analysis_status(self):
        """The status line of a segmented image; until then Gradio shows the elapsed seconds in its place."""
        return self.wait_for(lambda: self.text("#status") if "pixels" in self.text("#status") else None)

    def set_number(self, selector, value):
        """Set a number field and fire the event that the page listens to."""
        script = (
            "const field = document.querySelector(arguments[0]);"
            "Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, 'value').set.call(field, arguments[1]);"
            "field.dispatchEvent(new Event('input', {bubbles: true}));"
        )
        self.browser.execute_script(script, selector, str(value))


def test_the_page_in_a_browser(address, browser, make_upload, tmp_path):
    from selenium.webdriver.common.keys import Keys

    page = PageDriver(browser, address)

    # An image is segmented and drawn.
    page.upload(make_upload("plain"))
    assert "88 x 60 pixels" in page.analysis_status() and "tokens kept" in page.analysis_status()
    sources = [page.wait_for(lambda name=name: page.image_source(name)) for name in ("#overlay", "#mask", "#kept")]
    assert "class " in page.text("#areas") and "%" in page.text("#areas")
    browser.save_screenshot(str(tmp_path / "page.png"))
    pixels = np.asarray(Image.open(tmp_path / "page.png").convert("RGB"))
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 1000, "the noise image is visible under the colours"

    # Opacity and class change the drawings.
    page.set_number("#opacity input[type=range]", 0)
    page.wait_for(lambda: page.image_source("#overlay") not in (None, sources[0]))
    field = browser.find_element("css selector", "#class input")
    field.click()
    field.send_keys(Keys.CONTROL, "a")
    field.send_keys("class 1", Keys.ENTER)
    page.wait_for(lambda: "Mask of class 1" in page.text("#mask"))
    page.wait_for(lambda: page.image_source("#mask") not in (None, sources[1]))

    # Clear empties the page, and nothing was loaded from another server.
    browser.find_element("css selector", "#upload button[aria-label=Clear]").click()
    page.wait_for(lambda: page.image_source("#overlay") is None and not page.text("#areas").strip())
    foreign = "return performance.getEntriesByType('resource').map(e => e.name).filter(n => !n.startsWith(origin))"
    assert not [name for name in browser.execute_script(foreign) if name.startswith("http")]

    for kind in ("palette", "alpha", "16-bit"):
        page.upload(make_upload(kind))
        assert "88 x 60 pixels" in page.analysis_status(), kind
        page.wait_for(lambda: page.image_source("#overlay"))

    for kind, reason in (("text", "text.png"), ("100-megapixel", "10000 x 10000")):
        page.upload(make_upload(kind))
        page.wait_for(lambda: "Refused" in page.text("#status"))
        assert reason in page.text("#status")
        assert not page.text("#areas").strip() and page.image_source("#overlay") is None

    large = tmp_path / "large.png"
    large.write_bytes(b"0" * 2_000_000)
    page.upload(large)
    page.wait_for(lambda: "Error" in page.text("#upload"))
    assert "up to 1 MB and 50 megapixels" in page.text("body")
