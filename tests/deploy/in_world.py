"""A class on JupyterHub, from release to feedback, in a browser: run by test_jupyterhub.py in a world of its own, as its root.

The tests are the steps of one story, in their order. Students never leave the browser, but that their answers are put into the file.
"""

import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import nbformat
import pytest
from playwright.sync_api import Browser, Page, Request, sync_playwright

sys.path.insert(0, str(Path(__file__).parent))
import served
from served import ADDRESS, CHECKOUT, EXCHANGE, HELPER, INSTRUCTOR, OTHER, PASSWORD, STUDENT, TERM, run

NAME = "a01_closed_form"
PROOF = r"By induction $\bar\alpha_t = \prod_s \alpha_s$, and $$x_t = \sqrt{\bar\alpha_t}\,x_0 + \sqrt{1-\bar\alpha_t}\,\epsilon.$$"
PATIENCE = 180_000  # milliseconds, on a busy machine
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
FORMGRADER = f"{ADDRESS}/user/{INSTRUCTOR}/formgrader"
PICTURES = Path(os.environ["WORLD_FOLDER"])
SMALL = "600M"
POINTS = 86 + 7  # from the tests, with one mistake, and from the person who reads the proof
LIMITS = ("memory.max", "memory.limit_in_bytes")  # of the two versions of control groups


@pytest.fixture(scope="session", autouse=True)
def hub() -> None:
    """The server, set up as an administrator would, with a smaller limit on memory."""
    local = Path("/etc/jupyterhub/local.py")
    local.parent.mkdir(exist_ok=True)
    local.write_text(f'c.Spawner.mem_limit = "{SMALL}"\n')
    served.install(Path(os.environ["WORLD_PROXY"]))


@pytest.fixture(scope="session")
def foreign() -> list[str]:
    """Every address of another host that any page asked for."""
    return []


@pytest.fixture(scope="session")
def browser(hub: None) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=os.environ["WORLD_BROWSER"], args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def entered(browser: Browser, foreign: list[str]) -> Callable[[str], Page]:
    """A user's page after the login, which starts their server; the same page each time."""
    pages: dict[str, Page] = {}

    def noted(request: Request) -> None:
        if not request.url.startswith((ADDRESS, "data:", "blob:", ADDRESS.replace("http", "ws"))):
            foreign.append(request.url)

    def enter(user: str) -> Page:
        if user not in pages:
            context = browser.new_context(viewport={"width": 1280, "height": 900})
            context.set_default_timeout(PATIENCE)
            context.on("request", noted)
            pages[user] = page = context.new_page()
            page.goto(f"{ADDRESS}/hub/login")
            page.fill("#username_input", user)
            page.fill("#password_input", PASSWORD)
            page.click("#login_submit")
            page.wait_for_url("**/hub/**" if user == HELPER else "**/user/**")
        return pages[user]

    return enter


def menu(page: Page, name: str) -> list[str]:
    """Open a menu of JupyterLab: the names of what is in it."""
    page.wait_for_selector(".jp-Launcher, .jp-NotebookPanel")
    page.locator(".lm-MenuBar-itemLabel", has_text=name).click()
    page.wait_for_selector(".lm-Menu-itemLabel")
    return [label for label in page.locator(".lm-Menu-itemLabel").all_inner_texts() if label]


def press(page: Page, action: str, title: str = "Success") -> str:
    """Press a button in the assignment's row of the formgrader: what the window says that opens."""
    page.goto(FORMGRADER)
    page.locator("tr", has_text=NAME).locator(f"td.{action} a").click()
    page.wait_for_selector(".modal.in .modal-footer button")
    said = page.locator(".modal.in .modal-body").inner_text()
    assert page.locator(".modal.in .modal-title").inner_text() == title, said
    return said


def picture(page: Page, name: str) -> None:
    """Keep a picture of a page, for people to look at."""
    page.screenshot(path=PICTURES / f"{name}.png", full_page=True)


def as_user(user: str, command: str) -> subprocess.CompletedProcess[str]:
    """A command run by a user who has nothing but their own rights."""
    return subprocess.run(
        ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", "--no-new-privs", "sh", "-c", command],
        cwd="/", env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_the_doctor_says_in_one_line_that_namespaces_are_missing() -> None:
    """As in a container, or on Ubuntu without the profile for bubblewrap: here systemd forbids them."""
    command = f"{sys.prefix}/bin/python -m course.cli doctor --grading"
    forbidden = ["--property=RestrictNamespaces=yes", f"--property=WorkingDirectory={CHECKOUT}", f"--uid={INSTRUCTOR}"]
    said = run("systemd-run", "--wait", "--pipe", "--quiet", *forbidden, *command.split(), check=False)
    (line,) = [line for line in said.splitlines() if line.startswith("!! grading:")]
    assert "gives no namespaces" in line and "AppArmor profile" in line and "--cap-add SYS_ADMIN" in line


# --- the story ------------------------------------------------------------------------------------------------------------------


def test_the_instructor_releases_from_a_menu_that_leads_to_the_formgrader(entered: Callable[[str], Page]) -> None:
    run("cd learning-to-denoise && course assignments build", user=INSTRUCTOR)
    page = entered(INSTRUCTOR)
    assert menu(page, "Course") == ["Formgrader, in a tab of its own"]
    with page.context.expect_page() as opened:
        page.locator(".lm-Menu-itemLabel", has_text="Formgrader").click()
    opened.value.wait_for_selector(f"text={NAME}")
    assert opened.value.url.startswith(FORMGRADER)
    picture(opened.value, "formgrader")
    opened.value.close()
    press(page, "assign")
    press(page, "release")


def test_a_student_sees_the_assignments_and_nothing_that_leads_nowhere(entered: Callable[[str], Page]) -> None:
    page = entered(STUDENT)
    assert menu(page, "Nbgrader") == ["Assignment List"]
    assert page.locator(".lm-MenuBar-itemLabel", has_text="Course").count() == 0
    page.locator(".lm-Menu-itemLabel", has_text="Assignment List").click()
    page.get_by_role("button", name="Fetch").click()
    page.wait_for_selector("#fetched_assignments_list button")
    assert page.context.request.get(f"{ADDRESS}/user/{STUDENT}/formgrader").status == 404
    settings = json.loads(page.locator("#jupyter-config-data").text_content() or "")
    assert settings["extensionManager"]["can_install"] is False


def test_validate_shows_the_message_of_the_check_and_then_that_all_is_well(entered: Callable[[str], Page]) -> None:
    page = entered(STUDENT)
    page.locator(".assignment-notebooks-link").click()
    answer(wrong=True)
    assert "so its factor is the square root" in validated(page, "validate")
    answer(wrong=False)
    assert "Success! Your notebook passes all the tests." in validated(page, "validated")
    answer(wrong=True)


def validated(page: Page, name: str) -> str:
    """What Validate says."""
    page.get_by_role("button", name="Validate").click()
    said = page.locator(".jp-Dialog-content", has_text="Validation Results").inner_text()
    picture(page, name)
    page.locator(".jp-Dialog button", has_text="Ok").click()
    return said


def answer(wrong: bool) -> None:
    """Write the solution into the student's notebook, with a classic mistake or without."""
    solved = nbformat.read(CHECKOUT / "build" / "solved" / NAME / "topic.ipynb", 4)
    answers = {cell.metadata.nbgrader.grade_id: cell.source for cell in solved.cells if "nbgrader" in cell.metadata}
    file = Path("/home", STUDENT, NAME, "topic.ipynb")
    notebook = nbformat.read(file, 4)
    for cell in notebook.cells:
        about = cell.metadata.get("nbgrader", {})
        if about.get("solution"):
            cell.source = PROOF if about["grade_id"] == "proof" else answers[about["grade_id"]]
        if about.get("grade_id") == "one_step" and wrong:
            cell.source = cell.source.replace("sp.sqrt(1 - alpha)", "(1 - alpha)")
    nbformat.write(notebook, file)


def test_a_student_submits(entered: Callable[[str], Page]) -> None:
    page = entered(STUDENT)
    page.get_by_role("button", name="Submit").click()
    page.wait_for_selector("#submitted_assignments_list .nested_list_item")
    picture(page, "assignments")
    assert len(list((EXCHANGE / "inbound").glob(f"{STUDENT}+{NAME}+*"))) == 1


def test_a_student_who_takes_too_much_memory_loses_that_process_and_no_more(entered: Callable[[str], Page]) -> None:
    page, unit = entered(STUDENT), f"jupyter-{STUDENT}.service"
    limits = [
        file for file in Path("/sys/fs/cgroup").rglob("memory.*") if file.name in LIMITS and file.parent.name == unit
    ]
    assert [int(file.read_text()) for file in limits] == [600 * 2**20]

    def taking(megabytes: int) -> int:
        code = f"bytearray({megabytes} * 2**20)"
        shell = f"echo $$ >{limits[0].parent}/cgroup.procs && exec setpriv --reuid={STUDENT} --clear-groups {sys.executable} -c '{code}'"
        return subprocess.run(["sh", "-c", shell], check=False).returncode

    assert taking(50) == 0
    assert taking(1000) == -9
    assert run("systemctl", "is-active", unit).strip() == "active"
    assert page.context.request.get(f"{ADDRESS}/user/{STUDENT}/api/status").status == 200


FORGED = "2020-01-01 00:00:00.000000 UTC"


def test_another_student_neither_reads_nor_writes_what_is_not_theirs() -> None:
    (submission,) = (EXCHANGE / "inbound").glob(f"{STUDENT}+*")
    run("nbgrader db assignment list", user=INSTRUCTOR)  # there is a gradebook
    private = [
        TERM,
        TERM / "gradebook.db",
        CHECKOUT / "autograder" / "suites",
        CHECKOUT / "build" / "solved",
        EXCHANGE / "inbound",
    ]
    private += [
        Path("/home", STUDENT),
        Path("/home", STUDENT, NAME, "topic.ipynb"),
        Path("/home", INSTRUCTOR, ".jupyter"),
    ]
    private += [EXCHANGE / "feedback", Path("/var/lib/jupyterhub"), Path("/var/lib/jupyterhub/cookie_secret")]
    for path in private:
        assert path.exists(), path
        for attempt in (
            f"ls '{path}/'",
            f"cat '{path}'",
            f"touch '{path}/mine'",
            f"echo >>'{path}'",
            f"rm -r '{path}'",
        ):
            if path == EXCHANGE / "inbound" and attempt.startswith("touch"):
                continue  # where everybody hands in
            assert as_user(OTHER, attempt).returncode != 0, attempt
    for attempt in (
        f"rm -r '{submission}'",
        f"mv '{submission}' '{submission}2'",
        f"touch {EXCHANGE}/outbound/mine",
        f"touch {EXCHANGE}/feedback/x",
    ):
        assert as_user(OTHER, attempt).returncode != 0, attempt
    assert as_user(STUDENT, f"cat {Path('/home', STUDENT, NAME, 'topic.ipynb')}").returncode == 0


def test_what_a_submission_says_of_itself_is_not_believed() -> None:
    """Whose it is, when it was handed in, and that a link is a file."""
    inbound, theirs = EXCHANGE / "inbound", TERM / "submitted" / STUDENT / NAME / "topic.ipynb"
    for name, script in {
        f"{STUDENT}+{NAME}+2099-01-01 00:00:00.000000 UTC+forged": "echo '{}' >topic.ipynb",
        f"{OTHER}+{NAME}+{FORGED}+link": f"ln -s {theirs} topic.ipynb; mkfifo checks.py; echo '{FORGED}' >timestamp.txt",
        f"{OTHER}+{NAME}+no time+x": "true",
    }.items():
        assert as_user(OTHER, f"mkdir '{inbound}/{name}' && cd '{inbound}/{name}' && {script}").returncode == 0
    assert (
        as_user(OTHER, f"ln -s {theirs.parent} '{inbound}/{OTHER}+{NAME}+2098-01-01 00:00:00.000000 UTC+y'").returncode
        == 0
    )
    said = run("cd learning-to-denoise && nbgrader collect", NAME, user=INSTRUCTOR)
    assert f"was handed in by {OTHER}, whatever it says" in said
    assert nbformat.read(theirs, 4).cells  # Ada's own
    collected = TERM / "submitted" / OTHER / NAME
    assert not [file for file in collected.iterdir() if file.is_symlink() or file.read_bytes() == theirs.read_bytes()]
    stated = (collected / "timestamp.txt").read_text()
    assert stated.startswith(f"{datetime.now(UTC):%Y-%m-%d}"), stated


def test_autograde_in_the_sandbox_and_read_in_the_formgrader(entered: Callable[[str], Page]) -> None:
    page = entered(INSTRUCTOR)
    press(page, "collect")
    page.goto(f"{FORMGRADER}/manage_submissions/{NAME}")
    page.locator("tr", has_text=STUDENT).locator("td.autograde a").click()
    page.wait_for_selector(".modal.in .modal-footer button")
    assert page.locator(".modal.in .modal-title").inner_text() == "Success"
    page.goto(f"{FORMGRADER}/gradebook/{NAME}/topic")
    page.locator("tbody tr td a").first.click()
    page.wait_for_selector("math")
    assert "1 - alpha is the variance of the noise" in page.inner_text("body")
    page.wait_for_load_state("networkidle")  # the page asks for the scores after it is drawn
    for field, kind, text in (
        (".score", "grade", "7"),
        (".comment", "comment", "Say where you use that they are independent."),
    ):
        box = page.locator(field).last
        with page.expect_response(
            lambda answer, kind=kind: f"/api/{kind}/" in answer.url and answer.request.method == "PUT"
        ):
            box.fill(text)
            box.blur()  # what was typed is sent when the field is left
    picture(page, "formgrade")


def test_feedback_is_given_back_and_read_without_a_script(entered: Callable[[str], Page]) -> None:
    page = entered(INSTRUCTOR)
    press(page, "generate-feedback")
    press(page, "release-feedback")
    page = entered(STUDENT)
    page.get_by_role("button", name="Fetch Feedback").click()
    page.locator("a", has_text="view feedback").click()
    page.locator(".jp-DirListing-item", has_text="topic.html").dblclick()
    feedback = page.frame_locator(".jp-HTMLViewer iframe")
    feedback.locator("math").first.wait_for()
    text = feedback.locator("body").inner_text()
    assert "1 - alpha is the variance of the noise" in text and "Say where you use that they are independent." in text
    assert f"topic (Score: {POINTS:.1f} / 100.0)" in text
    picture(page, "feedback")
    (file,) = Path("/home", STUDENT, NAME, "feedback").glob("*/topic.html")
    assert "<script" not in file.read_text()


def test_another_instructor_enters_the_course_and_a_student_does_not(entered: Callable[[str], Page]) -> None:
    address = f"{FORMGRADER}/manage_assignments"
    page = entered(HELPER)
    page.goto(address)
    page.get_by_role("button", name="Authorize").or_(page.locator("input[type=submit]")).first.click()
    page.wait_for_selector(f"text={NAME}")
    assert entered(STUDENT).context.request.get(address).status == 403


def test_no_page_asked_another_host(foreign: list[str]) -> None:
    assert foreign == []


def test_installing_again_changes_nothing_and_stops_no_server() -> None:
    places = [
        Path("/opt/learning-to-denoise"),
        Path("/etc/systemd/system"),
        Path("/etc/profile.d"),
        Path("/etc/login.defs"),
        EXCHANGE,
    ]
    places += [Path(sys.prefix) / "etc", Path("/home", INSTRUCTOR, ".jupyter")]

    def state() -> dict[str, tuple]:
        found = [path for place in places for path in (place, *place.rglob("*"))]
        return {str(path): (path.lstat().st_mode, path.lstat().st_uid, content(path)) for path in found}

    before = state()
    served.set_up()
    after = state()
    assert [path for path in {*before, *after} if before.get(path) != after.get(path)] == []
    assert run("systemctl", "is-active", f"jupyter-{STUDENT}").strip() == "active"
    served.wait_for_the_hub()


def content(path: Path) -> bytes:
    """What a file holds; a pipe is none, and would be waited for."""
    return path.read_bytes() if stat.S_ISREG(path.lstat().st_mode) else b""
