// The pages work without this. With it times are the reader's own, a tab remembers the team's token until it is closed,
// the team's own pages open by themselves, and what waits is kept up to date.
"use strict";

const KEY = "harness-token";
const main = document.querySelector("main");
const say = document.getElementById("say");
let timer = 0;

// Turn a page's times, which come in UTC, into those of the reader's zone, and what it says of their zone.
function here(page) {
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  if (!zone || zone === "UTC") return page;
  const two = (number) => String(number).padStart(2, "0");
  const named = new Intl.DateTimeFormat("en", { timeZone: zone, timeZoneName: "short" });
  for (const time of page.querySelectorAll("time[datetime]")) {
    const at = new Date(time.dateTime);
    const day = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
    const short = named.formatToParts(at).find((part) => part.type === "timeZoneName").value;
    time.title = time.dateTime.replace("T", " ").replace(/:\d\d\+00:00$/, " UTC");
    time.textContent = `${day} ${two(at.getHours())}:${two(at.getMinutes())}${"named" in time.dataset ? ` ${short}` : ""}`;
  }
  for (const part of page.querySelectorAll("[data-zone]"))
    part.textContent = part.dataset.zone.replace("{zone}", zone.replaceAll("_", " "));
  return page;
}

async function read(path) {
  const token = sessionStorage.getItem(KEY);
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const reply = await fetch(path, { headers, cache: "no-store" });
  if (reply.status === 401) sessionStorage.removeItem(KEY);
  return here(new DOMParser().parseFromString(await reply.text(), "text/html"));
}

async function show(path) {
  const page = await read(path);
  main.replaceChildren(...page.querySelector("main").childNodes);
  document.title = page.title;
  dress();
}

// Replace what changed, unless somebody is in it with the keyboard.
function renew(page, id) {
  const now = document.getElementById(id), next = page.getElementById(id);
  if (!now || !next || now.innerHTML === next.innerHTML || now.contains(document.activeElement)) return;
  now.replaceChildren(...next.childNodes);
}

async function follow(path) {
  if (document.hidden) return;
  const page = await read(path);
  const status = page.getElementById("status");
  const words = status ? status.textContent.replace(/\s+/g, " ").trim() : "";
  if (say.textContent !== words) say.textContent = words;
  if (!page.querySelector("[data-live]")) {
    main.replaceChildren(...page.querySelector("main").childNodes);
    dress();
    return;
  }
  renew(page, "status");
  renew(page, "line");
}

function dress() {
  clearInterval(timer);
  for (const part of main.querySelectorAll("[data-script]")) part.hidden = false;
  for (const field of main.querySelectorAll("input[name=token]")) {
    field.value = sessionStorage.getItem(KEY) || "";
    field.form.addEventListener("submit", (event) => {
      sessionStorage.setItem(KEY, field.value.trim());
      if (!("view" in field.form.dataset)) return;
      event.preventDefault();
      show(field.form.action);
    });
  }
  for (const link of main.querySelectorAll("a[data-view]"))
    link.addEventListener("click", (event) => { event.preventDefault(); show(link.href); });
  for (const button of main.querySelectorAll("[data-forget]"))
    button.addEventListener("click", () => { sessionStorage.removeItem(KEY); location.assign("/"); });
  const at = main.querySelector("[data-at]");
  if (at && location.pathname !== at.dataset.at) history.replaceState(null, "", at.dataset.at);
  if (at && at.dataset.live)
    timer = setInterval(() => follow(at.dataset.at).catch(() => {}), 1000 * Number(at.dataset.live));
}

here(document);
dress();
const own = main.querySelector("form[data-view]"), public_ = main.querySelector("[data-ask]");
if ((own || public_) && sessionStorage.getItem(KEY)) show(own ? own.action : public_.dataset.at);
