"""Page: what an engineer sees at `http://localhost:4001/`: the generation, each service, what it does now.

One file, nothing from outside. It reads `/api/services` and writes with `textContent` only, so that no name or value
can become markup; the policy allows just this script and this style, by their hashes.
"""

import base64
import hashlib

_STYLE = """
:root{color-scheme:light dark;font:15px/1.45 system-ui,sans-serif}
body{max-width:70rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.3rem}h2{font-size:1.05rem;margin:0 0 .4rem}
#state{opacity:.7}
.bad{color:#c22;opacity:1!important}
main{display:grid;grid-template-columns:repeat(auto-fill,minmax(21rem,1fr));gap:1rem}
section{border:1px solid #8886;border-radius:.5rem;padding:.8rem}
dl{display:grid;grid-template-columns:auto 1fr;gap:.1rem .8rem;margin:0}
dt{opacity:.7}dd{margin:0;overflow-wrap:anywhere;font-variant-numeric:tabular-nums}
dd dl{border-left:2px solid #8884;padding-left:.6rem}
"""

_SCRIPT = """
const make=(tag,text)=>{const e=document.createElement(tag);if(text!==undefined)e.textContent=text;return e};
const show=(value)=>{
  if(value===null||typeof value!=="object")return make("span",String(value));
  const list=make("dl");
  for(const [name,inner] of Object.entries(value)){
    list.append(make("dt",name));
    const cell=make("dd");cell.append(show(inner));list.append(cell);
  }
  return list;
};
const state=document.getElementById("state");
const main=document.querySelector("main");
async function refresh(){
  try{
    const answer=await fetch("/api/services",{cache:"no-store"});
    if(!answer.ok)throw new Error("HTTP "+answer.status);
    const {services,...rest}=await answer.json();
    const cards=Object.entries(services).map(([name,what])=>{
      const card=make("section");card.append(make("h2",name),show(what));return card;
    });
    main.replaceChildren(...(cards.length?cards:[make("p","No service is configured.")]));
    state.replaceChildren(show(rest));state.className="";
  }catch(error){state.textContent="no answer from the sidecar: "+error.message;state.className="bad"}
  setTimeout(refresh,2000);
}
refresh();
"""


def _hash(text: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


POLICY = (
    f"default-src 'none'; script-src {_hash(_SCRIPT)}; style-src {_hash(_STYLE)}; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

PAGE = (
    '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>sidecar</title>'
    '<meta name="viewport" content="width=device-width"><link rel="icon" href="data:,">'
    f"<style>{_STYLE}</style></head><body><h1>sidecar</h1>"
    '<div id="state">loading</div><main></main>'
    "<noscript>This page needs JavaScript; the same is at /api/services.</noscript>"
    f"<script>{_SCRIPT}</script></body></html>\n"
)
