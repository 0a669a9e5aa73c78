"""Page: what an engineer sees at `http://localhost:4001/`: the generation, each service, what it does now, bad jobs.

One file, nothing from outside. It reads `/api/services` and `/api/jobs` and writes with `textContent` only, so that no
name or value can become markup; the policy allows just this script and this style, by their hashes.

Jobs are asked for where a service counts some that are dead or failed, so a quiet sidecar's store is left alone; their
rows are made anew only when they changed, so that no button goes away under a finger.
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
#jobs{margin-top:1.5rem;overflow-x:auto}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}
th,td{text-align:left;vertical-align:top;padding:.15rem .8rem .15rem 0;overflow-wrap:anywhere}
th{font-weight:normal;opacity:.7}td:last-child{white-space:nowrap}
pre{white-space:pre-wrap;overflow-wrap:anywhere}
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
const told=document.getElementById("told");
const lost=document.getElementById("lost");
const rows=document.querySelector("tbody");
const shown=document.querySelector("pre");
const columns=["state","service","method","path","attempts","error","created_at"];
const most=20;
let jobs=[];
async function ask(path,method="GET"){
  const answer=await fetch(path,{method,cache:"no-store"});
  const content=await answer.json().catch(()=>({}));
  if(!answer.ok)throw new Error(content.detail||"HTTP "+answer.status);
  return content;
}
const button=(label,act)=>{
  const e=make("button",label);
  e.onclick=async()=>{
    e.disabled=true;
    try{told.textContent=await act();told.className=""}
    catch(error){told.textContent=label+": "+error.message;told.className="bad"}
    e.disabled=false;
    look();
  };
  return e;
};
const row=(job)=>{
  const line=make("tr"),cell=make("td"),path="/api/jobs/"+encodeURIComponent(job.id);
  for(const name of columns)line.append(make("td",job[name]===null?"":String(job[name])));
  cell.append(
    button("show",async()=>{shown.textContent=JSON.stringify(await ask(path),null,2);return ""}),
    button("retry",async()=>{await ask(path+"/retry","POST");return job.id+" is tried again"}),
    button("discard",async()=>{
      if(!confirm("Discard "+job.id+"? Its request will be gone."))return "";
      return job.id+" is "+(await ask(path,"DELETE")).state;
    }));
  line.append(cell);
  return line;
};
async function list(services){
  const wanted=[];
  for(const [service,what] of Object.entries(services))
    for(const state of ["dead","failed"])
      if([what.queue||[]].flat().some((line)=>line[state]))
        wanted.push("/api/jobs?"+new URLSearchParams({service,state,limit:most}));
  const found=(await Promise.all(wanted.map((path)=>ask(path)))).flatMap((answer)=>answer.jobs);
  found.sort((a,b)=>a.created_at<b.created_at?1:-1);
  if(JSON.stringify(found)===JSON.stringify(jobs))return;
  jobs=found;
  rows.replaceChildren(...jobs.map(row));
  document.getElementById("jobs").hidden=!jobs.length;
}
async function look(){
  try{
    const {services,...rest}=await ask("/api/services");
    const cards=Object.entries(services).map(([name,what])=>{
      const card=make("section");card.append(make("h2",name),show(what));return card;
    });
    main.replaceChildren(...(cards.length?cards:[make("p","No service is configured.")]));
    state.replaceChildren(show(rest));state.className="";
    lost.textContent="";
    await list(services).catch((error)=>{lost.textContent="jobs: "+error.message});
  }catch(error){state.textContent="no answer from the sidecar: "+error.message;state.className="bad"}
}
async function refresh(){await look();setTimeout(refresh,2000)}
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
    '<div id="jobs" hidden><h2>Jobs that are dead or failed, the newest 20 of each</h2><table><thead><tr>'
    "<th>state<th>service<th>method<th>path<th>attempts<th>error<th>created<th></tr></thead><tbody></tbody></table></div>"
    '<p id="lost" class="bad"></p><p id="told"></p><pre></pre>'
    "<noscript>This page needs JavaScript; the same is at /api/services.</noscript>"
    f"<script>{_SCRIPT}</script></body></html>\n"
)
