"use strict";
// Texts are set with textContent and nothing else: no string ever becomes markup.

const at = (id) => document.getElementById(id);
const token = location.hash.slice(1);
const RETRY = [1, 2, 4, 8, 15]; // seconds
const SIDES = ["A", "B"];

let item = null; // as /api/items/N gives it
let chosen = {}; // question -> value
let place = { done: 0, total: 0, next: 1 };
let busy = true;
let watch = { seconds: 0, since: 0 }; // time the item was in view

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

// The server

class Refused extends Error {
  constructor(status, said) {
    super(said);
    this.status = status;
  }
}

async function ask(path, body) {
  const request = {
    headers: { Authorization: `Bearer ${token}` },
    signal: AbortSignal.timeout(15000),
  };
  if (body) {
    request.method = "POST";
    request.headers["Content-Type"] = "application/json";
    request.body = JSON.stringify(body);
  }
  const response = await fetch(path, request);
  const answer = await response.json();
  if (response.ok) return answer;
  throw new Refused(response.status, answer.error);
}

// Asks until there is an answer. A vote sent again is the same vote: the server knows it.
async function insist(path, body) {
  for (let i = 0; ; i++) {
    try {
      const answer = await ask(path, body);
      say("");
      return answer;
    } catch (error) {
      if (error instanceof Refused && error.status < 500) throw error;
      const wait = RETRY[Math.min(i, RETRY.length - 1)];
      const what = body ? "Not saved yet" : "Not loaded yet";
      say(`${what}: the server does not answer. Trying again in ${wait} s; leave this page open.`);
      await new Promise((done) => setTimeout(done, 1000 * wait));
    }
  }
}

function say(text) {
  at("status").textContent = text;
}

// What is shown

function textOf(content) {
  return content.trim()
    ? make("p", { class: "text", dir: "auto" }, content)
    : make("p", { class: "text empty" }, "(nothing)");
}

function choicesOf(question) {
  const field = make("fieldset", { "data-question": question.name }, make("legend", {}, question.text));
  const row = make("div", { class: "choices" });
  for (const choice of question.choices) {
    const input = make("input", { type: "radio", name: question.name, value: choice.value });
    input.checked = chosen[question.name] === choice.value;
    input.addEventListener("change", () => choose(question, choice.value));
    const label = make("label", {}, input, choice.label);
    if (choice.key !== choice.label) label.append(make("kbd", {}, choice.key.toUpperCase()));
    row.append(label);
  }
  field.append(row);
  return field;
}

function answerOf(messages, i) {
  const alone = item.answers.length === 1;
  const title = alone ? "Answer" : `Answer ${SIDES[i]}`;
  const box = make("article", { class: "answer", "aria-label": title }, make("h2", {}, title));
  messages.forEach((message, t) => {
    const turn = make("div", { class: `turn ${message.role}` });
    if (messages.length > 1) {
      turn.append(make("span", { class: "role" }, message.role === "user" ? "person" : "reply"));
    }
    turn.append(textOf(message.content));
    turn.append(...item.questions.filter((q) => q.answer === i && q.turn === t).map(choicesOf));
    box.append(turn);
  });
  box.append(...item.questions.filter((q) => q.answer === i && q.turn === null).map(choicesOf));
  return box;
}

function show() {
  const prompt = make("section", { id: "prompt", "aria-label": "Prompt" });
  for (const message of item.prompt) {
    const turn = make("div", { class: "turn" });
    if (item.prompt.length > 1) turn.append(make("span", { class: "role" }, message.role));
    turn.append(textOf(message.content));
    prompt.append(turn);
  }
  const layout = item.answers.length > 1 ? "two" : "one";
  document.querySelector("main").className = layout;
  const answers = make("div", { id: "answers", class: layout });
  answers.append(...item.answers.map(answerOf));
  at("item").replaceChildren(prompt, answers);
  at("verdict").replaceChildren(...item.questions.filter((q) => q.answer === null).map(choicesOf));
  at("title").textContent = `Item ${item.position}` + (item.revision ? ", judged before" : "");
  at("save").hidden = false;
  mark();
  scrollTo(0, 0);
  at("title").focus({ preventScroll: true });
  watch = { seconds: 0, since: document.hidden ? 0 : performance.now() };
}

// Marks the question that keys answer next, the chosen answer, and whether it can be saved.
function mark() {
  const open = openQuestion();
  for (const field of document.querySelectorAll("fieldset")) {
    const current = open !== undefined && field.dataset.question === open.name;
    field.classList.toggle("open", current && item.questions.length > 1);
  }
  document.querySelectorAll(".answer").forEach((box, i) => {
    box.classList.toggle("chosen", chosen.verdict === SIDES[i]);
  });
  at("save").disabled = busy || open !== undefined;
  at("back").disabled = busy || (item ? item.position : place.next) <= 1;
}

function header() {
  at("bar").max = Math.max(place.total, 1);
  at("bar").value = place.done;
  at("count").textContent = `${place.done} of ${place.total}`;
}

function openQuestion() {
  return item ? item.questions.find((q) => !(q.name in chosen)) : undefined;
}

function finish(title, text) {
  item = null;
  at("title").textContent = title;
  at("item").replaceChildren(make("p", {}, text));
  at("verdict").replaceChildren();
  at("save").hidden = true;
  mark();
}

// What people do

function choose(question, value) {
  if (busy) return;
  chosen[question.name] = value;
  for (const input of document.getElementsByName(question.name)) {
    input.checked = input.value === value;
  }
  mark();
  const open = openQuestion();
  if (open && item.questions.length > 1) {
    const field = [...document.querySelectorAll("fieldset")].find((f) => f.dataset.question === open.name);
    field.scrollIntoView({ block: "nearest" });
  }
}

async function go(position) {
  busy = true;
  mark();
  if (position > place.total) {
    busy = false;
    const left = place.total - place.done;
    finish(left ? "Not quite done" : "All done. Thank you!",
      left ? `${left} items are left; load the page again to judge them.`
        : `All ${place.total} are judged and saved. You can go back and change a judgement, or close the page.`);
    return;
  }
  item = await insist(`/api/items/${position}`);
  chosen = { ...item.choices };
  busy = false;
  show();
}

function unchanged() {
  return item.revision > 0 && item.questions.every((q) => item.choices[q.name] === chosen[q.name]);
}

async function save() {
  if (busy || !item || openQuestion()) return;
  const here = item.position;
  if (unchanged()) return go(here + 1);
  busy = true;
  mark();
  const vote = {
    position: here, revision: item.revision + 1, choices: chosen,
    seconds: Math.round(seen() * 10) / 10,
  };
  try {
    place = await insist("/api/votes", vote);
  } catch (error) {
    if (!(error instanceof Refused) || error.status !== 409) throw error;
    await go(here); // another window was first: show what is stored
    say("Another window saved this item first; here is what it saved.");
    return;
  }
  header();
  await go(here + 1);
}

function back() {
  if (busy) return;
  const here = item ? item.position : place.total + 1;
  if (here > 1) run(go(here - 1));
}

function seen() {
  return watch.seconds + (watch.since ? (performance.now() - watch.since) / 1000 : 0);
}

function typed(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || event.isComposing) return;
  const onControl = event.target.closest("button, a, summary");
  if (event.key === "Enter") {
    if (!onControl) run(save());
  } else if (event.key === "Backspace") {
    event.preventDefault();
    back();
  } else if (item && !busy) {
    // The next open question, or the last one: a second key changes a first one.
    const question = openQuestion() ?? item.questions.at(-1);
    const choice = question.choices.find((c) => c.key === event.key.toLowerCase());
    if (choice) choose(question, choice.value);
  }
}

function run(promise) {
  promise.catch((error) => {
    busy = false;
    const invalid = error instanceof Refused && error.status === 401;
    if (invalid) finish("This link does not work", "It is incomplete or no longer valid. Ask for a new one.");
    else say(`This went wrong: ${error.message}. Load the page again.`);
  });
}

async function start() {
  place = await insist("/api/progress");
  at("who").textContent = place.annotator;
  header();
  await go(place.next);
}

document.addEventListener("keydown", typed);
document.addEventListener("visibilitychange", () => {
  watch = { seconds: seen(), since: document.hidden ? 0 : performance.now() };
});
window.addEventListener("hashchange", () => location.reload());
window.addEventListener("beforeunload", (event) => {
  if (busy && item && !unchanged() && !openQuestion()) event.preventDefault(); // a vote is under way
});
at("save").addEventListener("click", () => run(save()));
at("back").addEventListener("click", back);
at("help").addEventListener("click", (event) => {
  const keys = at("keys");
  keys.hidden = !keys.hidden;
  at("help").setAttribute("aria-expanded", String(!keys.hidden));
  if (event.detail) at("help").blur(); // clicked, not typed: Enter is to save again
});
run(start());
