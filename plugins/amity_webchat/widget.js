// Amity web chat. Served with its configuration; one script tag puts it on a page.
(() => {
  "use strict";
  const config = /*CONFIG*/ null;
  const script =
    document.currentScript || document.querySelector(`script[src*="/${config.connection}/widget.js"]`);
  if (!script || document.getElementById(`amity-chat-${config.connection}`)) return;

  const address = new URL("socket", script.src);
  address.protocol = address.protocol === "http:" ? "ws:" : "wss:";
  address.search = "";

  // --- language -------------------------------------------------------------------------------------------

  const asked = [script.dataset.lang, document.documentElement.lang, ...(navigator.languages || [])];
  const known = Object.keys(config.texts);
  const language =
    asked
      .filter(Boolean)
      .flatMap((tag) => [tag.toLowerCase(), tag.toLowerCase().split("-")[0]])
      .map((tag) => known.find((name) => name.toLowerCase() === tag))
      .find(Boolean) || known[0];
  const text = config.texts[language];
  const direction = ["ar", "dv", "fa", "he", "ps", "ur", "yi"].includes(language.split("-")[0]) ? "rtl" : "ltr";

  // --- what is kept in the page's own storage -------------------------------------------------------------

  const memory = new Map();
  const prefix = `amity:${config.connection}:`;
  const store = {
    get(key) {
      try {
        return localStorage.getItem(prefix + key);
      } catch {
        return memory.has(key) ? memory.get(key) : null;
      }
    },
    set(key, value) {
      try {
        localStorage.setItem(prefix + key, value);
      } catch {
        memory.set(key, value); // storage is blocked or full: it lasts as long as the page
      }
    },
    remove(key) {
      memory.delete(key);
      try {
        localStorage.removeItem(prefix + key);
      } catch {}
    },
    keys() {
      try {
        return Object.keys(localStorage)
          .filter((key) => key.startsWith(prefix))
          .map((key) => key.slice(prefix.length))
          .concat([...memory.keys()]);
      } catch {
        return [...memory.keys()];
      }
    },
  };
  const session = {
    get: (key) => { try { return sessionStorage.getItem(prefix + key); } catch { return null; } },
    set: (key, value) => { try { sessionStorage.setItem(prefix + key, value); } catch {} },
  };

  // Every unsent message has a key of its own, so that two tabs never overwrite each other's.
  const outbox = () =>
    store
      .keys()
      .filter((key) => key.startsWith("out:"))
      .map((key) => { try { return JSON.parse(store.get(key)); } catch { return null; } })
      .filter((item) => item && item.id)
      .sort((a, b) => a.at - b.at);

  const newId = () => {
    const bytes = crypto.getRandomValues(new Uint8Array(16));
    return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  };

  // --- elements -------------------------------------------------------------------------------------------

  // Everything is built from nodes and text: nothing that anybody wrote is ever parsed as HTML.
  const make = (tag, attributes = {}, ...children) => {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
      else if (value === true) node.setAttribute(name, "");
      else if (value !== false && value !== null) node.setAttribute(name, value);
    }
    node.append(...children);
    return node;
  };
  const icon = (path) => {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    const shape = document.createElementNS("http://www.w3.org/2000/svg", "path");
    svg.setAttribute("viewBox", "0 0 24 24");
    svg.setAttribute("aria-hidden", "true");
    shape.setAttribute("d", path);
    svg.append(shape);
    return svg;
  };

  const host = make("div", { id: `amity-chat-${config.connection}` });
  const shadow = host.attachShadow({ mode: "open" });
  const sheet = new CSSStyleSheet(); // unlike a style element, it needs no leave from the page's CSP
  sheet.replaceSync(`/*STYLE*/`);
  shadow.adoptedStyleSheets = [sheet];
  host.style.setProperty("--color", config.color);
  host.style.setProperty("--ink", config.ink);
  host.style.setProperty("--ring", config.ring);

  const badge = make("span", { class: "badge", hidden: true });
  const launcher = make(
    "button",
    { class: "launcher", type: "button", "aria-expanded": "false", "aria-controls": "panel", onclick: () => toggle() },
    icon("M12 3C6.5 3 2 6.8 2 11.5c0 2.5 1.3 4.8 3.4 6.3L4.5 22l4.6-2.3c.9.2 1.9.3 2.9.3 5.5 0 10-3.8 10-8.5S17.500 3 12 3z"),
    badge,
  );
  const status = make("p", { class: "status", role: "status" });
  const earlier = make("button", { class: "earlier", type: "button", hidden: true, onclick: () => loadEarlier() }, text.earlier);
  const list = make("ol", { class: "list" });
  const typing = make(
    "p",
    { class: "typing", role: "status", hidden: true },
    make("span", { class: "dots", "aria-hidden": "true" }, make("i"), make("i"), make("i")),
    make("span", { class: "hide" }, text.typing),
  );
  const log = make("div", { class: "log", role: "log", "aria-live": "polite", "aria-label": text.messages, tabindex: "0" }, earlier, list);
  const email = make("input", { type: "email", id: "email", name: "email", required: true, autocomplete: "email", maxlength: "254", placeholder: text.emailHint, dir: "ltr" });
  const emailForm = make(
    "form",
    { class: "email", hidden: true, onsubmit: (event) => giveEmail(event) },
    make("label", { for: "email" }, text.email),
    make("div", { class: "row" }, email, make("button", { type: "submit" }, text.save)),
    make("button", { type: "button", class: "later", onclick: () => skipEmail() }, text.later),
  );
  const notice = make("p", { class: "notice", role: "alert", hidden: true });
  const input = make("textarea", { id: "text", rows: "1", maxlength: String(config.maxLength), placeholder: text.placeholder, dir: "auto", enterkeyhint: "send" });
  const send = make("button", { type: "submit", class: "send", "aria-label": text.send }, icon("M3 20.500v-6.700l9-1.800-9-1.800V3.500L22 12z"));
  const form = make(
    "form",
    { class: "write", onsubmit: (event) => submit(event) },
    make("label", { for: "text", class: "hide" }, text.placeholder),
    input,
    send,
  );
  const panel = make(
    "section",
    { id: "panel", class: "panel", role: "dialog", "aria-labelledby": "title", hidden: true },
    make(
      "header",
      {},
      make("div", { class: "names" }, make("h2", { id: "title" }, make("bdi", {}, text.title)), status),
      make("button", { type: "button", class: "close", "aria-label": text.close, onclick: () => close() }, icon("M6.400 5 5 6.400 10.600 12 5 17.600 6.400 19 12 13.400 17.600 19 19 17.600 13.400 12 19 6.400 17.600 5 12 10.600z")),
    ),
    log,
    typing,
    emailForm,
    notice,
    form,
  );
  const root = make("div", { class: "root", lang: language, dir: direction }, panel, launcher);
  shadow.append(root);

  // --- messages -------------------------------------------------------------------------------------------

  const shown = new Map(); // key → {node, at, key}; the key of an own message is its client id
  const unseen = new Set();
  const clock = new Intl.DateTimeFormat(language, { hour: "2-digit", minute: "2-digit" });
  const day = new Intl.DateTimeFormat(language, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
  const when = (at) => (new Date(at).toDateString() === new Date().toDateString() ? clock : day).format(new Date(at));

  const withLinks = (body) =>
    body.split(/(https?:\/\/[^\s<>"']+[^\s<>"'.,;:!?)\]])/g).map((part, index) =>
      index % 2 ? make("a", { href: part, target: "_blank", rel: "noopener noreferrer nofollow" }, part) : part,
    );

  const atEnd = () => log.scrollHeight - log.scrollTop - log.clientHeight < 60;
  const toEnd = () => { log.scrollTop = log.scrollHeight; };

  function show(message, state) {
    const key = message.client || message.id;
    const before = shown.get(key);
    if (before && before.state === state) return false;
    const meta = make("span", { class: "meta" }, message.name ? `${message.name} · ` : "", make("time", { datetime: new Date(message.at).toISOString() }, when(message.at)));
    if (message.mine) meta.append(` · ${text[state]}`);
    const node = make(
      "li",
      { class: `${message.mine ? "mine" : "theirs"} ${state}` },
      make("span", { class: "hide" }, message.mine ? text.you : message.name || text.title),
      make("div", { class: "bubble", dir: "auto" }, ...withLinks(message.text)),
      meta,
    );
    const entry = { node, key, state, at: new Date(message.at).getTime(), id: message.id || "" };
    shown.set(key, entry);
    if (before) before.node.remove();
    // the greeting comes first, what is on its way last, and everything else in the order of the server
    const after = [...shown.values()].filter((other) => other !== entry && later(other, entry)).sort((a, b) => (later(a, b) ? 1 : -1))[0];
    list.insertBefore(node, after ? after.node : null);
    return !before;
  }

  function later(one, other) {
    const rank = (entry) => (entry.key === "greeting" ? 0 : entry.state === "sending" || entry.state === "failed" ? 2 : 1);
    if (rank(one) !== rank(other)) return rank(one) > rank(other);
    return one.at !== other.at ? one.at > other.at : one.id > other.id;
  }

  function take(messages, fresh) {
    const stick = atEnd();
    const got = [];
    let added = false;
    for (const message of messages) {
      if (message.client) store.remove(`out:${message.client}`);
      const isNew = show(message, "sent");
      added = added || isNew;
      if (message.mine || message.read) continue;
      got.push(message.id);
      if (isNew) unseen.add(message.id);
    }
    if (got.length) tell({ t: "got", ids: got });
    if (added && fresh) typing.hidden = true;
    if (stick) toEnd();
    seen();
  }

  function seen() {
    if (!panel.hidden && document.visibilityState === "visible" && unseen.size && tell({ t: "seen", ids: [...unseen] })) unseen.clear();
    badge.hidden = !unseen.size;
    badge.textContent = unseen.size > 9 ? "9+" : String(unseen.size);
    launcher.setAttribute("aria-label", unseen.size ? `${text.open} (${text.unread}: ${unseen.size})` : text.open);
  }

  function greet() {
    if (text.greeting) show({ id: "greeting", text: text.greeting, at: opened }, "sent");
  }

  const say = (words) => {
    notice.textContent = words || "";
    notice.hidden = !words;
  };

  // --- connection -----------------------------------------------------------------------------------------

  let socket = null;
  let ready = false;
  let failures = 0;
  let timer = 0;
  let pulse = 0;
  let silence = 0;
  let retry = 0;
  let visitor = null;
  let identity = script.dataset.identity || null;
  let resume = null; // who a signed-in page is, after its identity has expired; never stored
  let since = null;
  let cursor = null;
  let online = false;
  let stopped = false;
  let presented = null;
  let opened = Date.now();
  let typed = 0;

  function tell(message) {
    if (!ready && message.t !== "hello") return false;
    if (!socket || socket.readyState !== WebSocket.OPEN) return false;
    socket.send(JSON.stringify(message));
    return true;
  }

  function connect() {
    clearTimeout(timer);
    if (stopped || (socket && socket.readyState < WebSocket.CLOSING)) return;
    const mine = new WebSocket(address);
    socket = mine;
    mine.onopen = () => {
      presented = store.get("token");
      tell({ t: "hello", v: 1, token: presented, identity, resume, since, language, page: location.origin + location.pathname });
      beat();
    };
    mine.onmessage = (event) => {
      if (socket !== mine) return;
      beat();
      receive(JSON.parse(event.data));
    };
    mine.onclose = (event) => {
      if (socket === mine) lost(event.code);
    };
  }

  // Browsers can't see a connection that died silently; so we ask now and then, and expect an answer.
  function beat() {
    clearTimeout(pulse);
    clearTimeout(silence);
    pulse = setTimeout(() => {
      if (tell({ t: "ping" })) silence = setTimeout(() => drop(), 10000);
    }, config.heartbeat * 1000);
  }

  function drop() {
    const old = socket;
    if (!old) return;
    old.onclose = null;
    old.close();
    lost(1006);
  }

  function lost(code) {
    socket = null;
    ready = false;
    typing.hidden = true;
    clearTimeout(pulse);
    clearTimeout(silence);
    if (code === 4400 || code === 4403 || code === 4404) stopped = true; // trying again would change nothing
    presence();
    if (stopped) return;
    failures += 1;
    const longest = code === 4429 ? 30000 : Math.min(30000, 500 * 2 ** Math.min(failures - 1, 6));
    timer = setTimeout(connect, longest * (0.5 + Math.random() / 2));
  }

  function again() {
    if (socket || stopped || !failures) return;
    failures = 0;
    connect();
  }

  function presence() {
    status.textContent = stopped ? text.unavailable : !ready ? (failures ? text.reconnecting : "") : online ? text.online : text.away;
    root.classList.toggle("online", ready && online);
  }

  const handlers = {
    welcome(message) {
      const kept = store.get("token");
      if (!presented && kept && message.token && kept !== message.token) {
        drop(); // another tab was first: be the same visitor
        return;
      }
      resume = message.resume;
      if (message.token) store.set("token", message.token);
      else store.remove("token");
      if (visitor && visitor !== message.visitor) forget();
      visitor = message.visitor;
      ready = true;
      failures = 0;
      online = message.online;
      if (!since) {
        cursor = message.cursor;
        earlier.hidden = !cursor;
      }
      since = message.since;
      log.setAttribute("aria-busy", "true"); // what was said before is not read out
      greet();
      take(message.messages, false);
      log.removeAttribute("aria-busy");
      if (message.identified) store.set("email", "known");
      if (message.messages.length) store.set("back", "1");
      for (const item of outbox()) post(item);
      presence();
      askEmail();
    },
    messages(message) {
      since = message.since;
      take(message.messages, true);
    },
    ack(message) {
      take([message.message], true);
      store.set("back", "1");
      askEmail();
    },
    history(message) {
      const height = log.scrollHeight;
      log.setAttribute("aria-busy", "true");
      cursor = message.cursor;
      earlier.hidden = !cursor;
      take(message.messages, false);
      log.scrollTop += log.scrollHeight - height;
      log.removeAttribute("aria-busy");
    },
    typing() {
      typing.hidden = false;
      clearTimeout(typing.timer);
      typing.timer = setTimeout(() => { typing.hidden = true; }, 6000);
      if (atEnd()) toEnd();
    },
    presence(message) {
      online = message.online;
      presence();
    },
    email() {
      store.set("email", "known");
      emailForm.hidden = true;
      show({ id: "thanks", text: text.thanks, at: Date.now() }, "sent");
      toEnd();
      input.focus();
    },
    refused(message) {
      if (message.after && message.id) {
        if (message.code === "rate") say(text.slow);
        clearTimeout(retry);
        retry = setTimeout(() => { say(""); for (const item of outbox()) post(item); }, message.after * 1000);
      } else if (message.code === "identity") {
        console.warn(`Amity web chat: ${message.reason}`);
      } else if (message.code === "email") {
        say(text.badEmail);
        email.focus();
      } else if (message.id) {
        const item = outbox().find((one) => one.id === message.id);
        store.remove(`out:${message.id}`);
        if (item) show({ client: item.id, text: item.text, at: item.at, mine: true }, "failed");
      }
    },
    pong() {},
  };

  function receive(message) {
    if (Object.hasOwn(handlers, message.t)) handlers[message.t](message);
  }

  // --- what the visitor does --------------------------------------------------------------------------------

  function post(item) {
    show({ client: item.id, text: item.text, at: item.at, mine: true }, "sending");
    tell({ t: "message", id: item.id, text: item.text });
  }

  function submit(event) {
    event.preventDefault();
    const body = input.value.trim();
    if (!body) return;
    const item = { id: newId(), text: body, at: Date.now() };
    store.set(`out:${item.id}`, JSON.stringify(item));
    say("");
    post(item);
    input.value = "";
    grow();
    toEnd();
    again();
  }

  function grow() {
    input.style.height = "auto";
    input.style.height = `${Math.min(input.scrollHeight, 120)}px`;
    send.disabled = !input.value.trim();
  }

  function loadEarlier() {
    if (cursor && tell({ t: "history", before: cursor })) earlier.hidden = true;
  }

  function askEmail() {
    const spoke = [...shown.values()].some((entry) => entry.node.classList.contains("mine") && entry.state === "sent");
    emailForm.hidden = !(config.askEmail && spoke && !store.get("email") && ready);
    if (!emailForm.hidden && atEnd()) toEnd();
  }

  function giveEmail(event) {
    event.preventDefault();
    say("");
    tell({ t: "email", email: email.value.trim() });
  }

  function skipEmail() {
    store.set("email", "later");
    emailForm.hidden = true;
    input.focus();
  }

  function toggle() {
    if (panel.hidden) open();
    else close();
  }

  function open(focus = true) {
    panel.hidden = false;
    launcher.setAttribute("aria-expanded", "true");
    root.classList.add("opened");
    session.set("open", "1");
    greet();
    connect();
    presence();
    seen();
    toEnd();
    if (focus) input.focus();
  }

  function close() {
    panel.hidden = true;
    launcher.setAttribute("aria-expanded", "false");
    root.classList.remove("opened");
    session.set("open", "");
    seen();
    launcher.focus();
  }

  function forget() {
    for (const entry of shown.values()) entry.node.remove();
    shown.clear();
    unseen.clear();
    since = cursor = null;
    earlier.hidden = true;
    emailForm.hidden = true;
  }

  function restart() {
    forget();
    visitor = null;
    failures = 0;
    stopped = false;
    const old = socket;
    socket = null;
    ready = false;
    if (old) old.close();
    greet();
    connect();
  }

  input.addEventListener("input", () => {
    grow();
    if (Date.now() - typed > 3000 && input.value && tell({ t: "typing" })) typed = Date.now();
  });
  input.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      form.requestSubmit();
    }
  });
  panel.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      event.stopPropagation();
      close();
    }
  });
  // keys that are typed here are not the page's shortcuts
  for (const kind of ["keydown", "keyup", "keypress"]) root.addEventListener(kind, (event) => event.stopPropagation());
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "visible") { again(); seen(); }
  });
  addEventListener("online", again);

  function start() {
    document.body.append(host);
    grow();
    seen();
    const back = store.get("token") && (store.get("back") || outbox().length);
    if (session.get("open")) open(false);
    else if (back || identity) connect(); // others cost no connection until they open the chat
  }
  if (document.body) start();
  else document.addEventListener("DOMContentLoaded", start);

  window.amityChat = {
    open: () => open(),
    close,
    /** Says who the visitor is, by a token that the company's own server signed. Null: nobody any more. */
    identify(token) {
      identity = token || null;
      resume = null;
      restart();
    },
    /** Forgets the visitor on this browser. */
    reset() {
      for (const key of store.keys()) store.remove(key);
      identity = resume = null;
      restart();
    },
  };
})();
