"""The page's script, run by node with a document that is as small as it may be: what it asks, shows and does."""

import asyncio
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from sidecar.admin.page import PAGE

NODE = shutil.which("node")
pytestmark = pytest.mark.skipif(NODE is None, reason="node is not installed here")

WORLD = """
const element=(tag)=>({
  tag,children:[],text:"",className:"",hidden:true,
  get textContent(){return this.text+this.children.map((c)=>c.textContent).join("|")},
  set textContent(text){if(typeof text!=="string")throw new Error("no text");this.text=text;this.children=[]},
  append(...more){this.children.push(...more)},
  replaceChildren(...more){this.children=more;this.text=""},
});
const parts={};
const part=(name)=>parts[name]??=element(name);
globalThis.document={createElement:element,getElementById:part,querySelector:part};
globalThis.confirm=()=>WORDS.shift();
globalThis.setTimeout=(again)=>{globalThis.again=again};
const asked=[];
globalThis.fetch=async(path,{method})=>{
  asked.push(method+" "+path);
  const answer=ANSWERS[method+" "+path];
  if(!answer)return {ok:false,status:404,json:async()=>({detail:"there is no "+path})};
  return {ok:true,status:200,json:async()=>answer};
};
const settle=async()=>{for(let n=0;n<50;n++)await null};
const buttons=(n)=>part("tbody").children[n].children.at(-1).children;
const say=(what)=>console.log(JSON.stringify(what));
"""
STATUS = "state=dead&limit=20"
LIST = "GET /api/jobs?service=crm&"


def job(number: int, **more: Any) -> dict[str, Any]:
    """Give one as /api/jobs lists it."""
    return {
        "id": f"crm.{number}", "state": "dead", "service": "crm", "method": "POST", "path": "/<b>x</b>", "attempts": 3,
        "error": "status 503", "created_at": f"2026-01-0{number}T00:00:00.000Z", "next_at": None, **more
    }  # fmt: skip


def services(**queue: Any) -> dict[str, Any]:
    """Give what /api/services answers."""
    return {"generation": 1, "services": {"crm": {"calls": 7, "queue": queue}, "llm": {"calls": 1}}}


async def play(folder: Path, answers: dict[str, Any], acts: str, words: list[bool] | None = None) -> list[Any]:
    """Load the page, act, and give what was said."""
    (script,) = re.findall("<script>(.*?)</script>", PAGE, re.DOTALL)
    given = f"const ANSWERS={json.dumps(answers)};const WORDS={json.dumps(words or [])};"
    file = folder / "page.mjs"
    file.write_text(f"{given}\n{WORLD}\n{script}\nawait settle();\n{acts}\n")
    assert NODE is not None
    ran = await asyncio.to_thread(
        subprocess.run, [NODE, str(file)], capture_output=True, text=True, check=False, timeout=30
    )
    assert ran.returncode == 0, ran.stderr
    return [json.loads(line) for line in ran.stdout.splitlines()]


async def test_a_quiet_queue_is_not_asked_for_jobs(tmp_path: Path) -> None:
    """Counts come with the services; without a dead or failed one there is no list."""
    acts = 'say(asked);say(part("jobs").hidden);say(part("main").textContent)'
    asked, is_hidden, main = await play(tmp_path, {"GET /api/services": services(waiting=3)}, acts)
    assert asked == ["GET /api/services"]
    assert is_hidden
    assert main == "crm|calls|7|queue|waiting|3|llm|calls|1"


async def test_what_ended_badly_is_listed_the_newest_first(tmp_path: Path) -> None:
    """Of each service that counts some, in whichever of its lines; as text."""
    answers = {
        "GET /api/services": {"services": {"crm": {"queue": [{"dead": 2}, {"route": "chat", "failed": 1}]}}},
        LIST + "state=dead&limit=20": {"jobs": [job(3), job(1)]},
        LIST + "state=failed&limit=20": {"jobs": [job(2, state="failed", error=None)]},
    }
    acts = 'say(part("tbody").children.map((row)=>row.textContent));say(part("jobs").hidden)'
    rows, is_hidden = await play(tmp_path, answers, acts)
    assert not is_hidden
    assert rows == [
        "dead|crm|POST|/<b>x</b>|3|status 503|2026-01-03T00:00:00.000Z|show|retry|discard",
        "failed|crm|POST|/<b>x</b>|3||2026-01-02T00:00:00.000Z|show|retry|discard",
        "dead|crm|POST|/<b>x</b>|3|status 503|2026-01-01T00:00:00.000Z|show|retry|discard",
    ]


async def test_a_job_is_shown_tried_again_and_discarded(tmp_path: Path) -> None:
    """Each by a button; a discard asks first; what the sidecar refuses is told in its words."""
    answers = {
        "GET /api/services": services(dead=1),
        LIST + STATUS: {"jobs": [job(1)]},
        "GET /api/jobs/crm.1": job(1, answer={"status": 503, "headers": [], "body": "<script>1</script>"}),
        "POST /api/jobs/crm.1/retry": job(1, state="waiting"),
        "DELETE /api/jobs/crm.1": {"id": "crm.1", "state": "discarded"},
    }
    acts = """
    const first=part("tbody").children[0];
    await buttons(0)[0].onclick();say(part("pre").textContent);
    await buttons(0)[1].onclick();say(part("told").textContent);
    await buttons(0)[2].onclick();say(part("told").textContent);
    await buttons(0)[2].onclick();say(part("told").textContent);
    delete ANSWERS["POST /api/jobs/crm.1/retry"];
    await buttons(0)[1].onclick();say(part("told").textContent);say(part("told").className);
    await settle();await again();
    say(part("tbody").children[0]===first);
    say(asked.filter((one)=>!one.includes("services")&&!one.includes("?")));
    """
    shown, retried, kept, discarded, refused, how, is_same, asked = await play(tmp_path, answers, acts, [False, True])
    assert json.loads(shown)["answer"]["body"] == "<script>1</script>"
    assert retried == "crm.1 is tried again"
    assert kept == ""
    assert discarded == "crm.1 is discarded"
    assert (refused, how) == ("retry: there is no /api/jobs/crm.1/retry", "bad")
    assert is_same, "a row that did not change stays, with its buttons"
    assert asked == [
        "GET /api/jobs/crm.1", "POST /api/jobs/crm.1/retry", "DELETE /api/jobs/crm.1", "POST /api/jobs/crm.1/retry"
    ]  # fmt: skip


async def test_a_store_that_is_away_leaves_the_services_on_the_page(tmp_path: Path) -> None:
    """And says so beside them."""
    acts = 'say(part("lost").textContent);say(part("main").textContent);say(part("state").className)'
    lost, main, how = await play(tmp_path, {"GET /api/services": services(dead=1)}, acts)
    assert lost.startswith("jobs: there is no /api/jobs?service=crm")
    assert main.startswith("crm|calls|7")
    assert how == ""
