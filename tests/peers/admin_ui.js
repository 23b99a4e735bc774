// The Admin UI in Chromium: admin_ui.js URL CHROMIUM SCREENSHOT_DIR [--mode development|production] [--readonly]
// [--reference]
//
// The server is ref_server.js's or one like it, and has no other clients. --reference: the JavaScript server, whose
// "session" the UI never hears, so that a reload asks for the password.

const assert = require("node:assert/strict");
const path = require("node:path");
const { parseArgs } = require("node:util");
const { chromium } = require("playwright-core");
const { io } = require("socket.io-client");
const { check, next, run } = require("./check.js");

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    mode: { type: "string", default: "development" },
    readonly: { type: "boolean", default: false },
    reference: { type: "boolean", default: false },
    "server-id": { type: "string", default: "srv-1" },
  },
});
const [url, executablePath, screenshots] = positionals;
const development = values.mode === "development";
const inDevelopment = development ? check : () => {};
const writable = development && !values.readonly ? check : () => {};

const ARGS = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync",
];

// On a machine that others use.
const PATIENCE = 60_000;

let page;
const complaints = [];

const client = async (transports = ["polling", "websocket"]) => {
  const socket = io(url, { forceNew: true, reconnection: false, transports });
  const upgraded = transports.length > 1 && next(socket.io.engine, "upgrade");
  await next(socket, "connect");
  await upgraded;
  return socket;
};

// What the UI calls a client, until it has gone.
const clientId = (socket) => socket.io.engine.id.slice(0, 12);

const join = (socket, room) => socket.timeout(40_000).emitWithAck("join", room);

const gone = (locator) => locator.waitFor({ state: "detached", timeout: PATIENCE });
const seen = (locator) => locator.filter({ visible: true }).first().waitFor({ timeout: PATIENCE });

// A page of the menu, once it has slid in.
const visit = async (title) => {
  await page.getByRole("navigation").getByRole("link", { name: title, exact: true }).click();
  await arrived(title);
};
const arrived = async (title) => {
  const crumbs = page.locator(".v-breadcrumbs");
  await seen(crumbs.filter({ hasText: new RegExp(`${title}$`) }));
  await page.waitForFunction(() => document.querySelectorAll(".v-breadcrumbs").length === 1);
  await page.waitForTimeout(400);
};

const row = (...texts) => texts.reduce((rows, hasText) => rows.filter({ hasText }), page.locator("main tbody tr"));
const card = (title) => page.locator(".v-card").filter({ has: page.locator(".v-card__title", { hasText: new RegExp(`^\\s*${title}`) }) });
const button = (within, icon) => within.locator(`button:has(.mdi-${icon})`);
const DISCONNECT = "logout";
const LEAVE = "tag-off-outline";
const JOIN = "tag-plus-outline";

// A click on a button of a list is one on its row, too, and opens that row's page: back to the list.
const lacks = async (list, text) => {
  await page.waitForTimeout(500);
  await visit(list);
  await gone(row(text));
};

const choose = async (namespace) => {
  await page.locator("main .v-select__slot").first().click();
  await page.getByRole("option", { name: namespace, exact: true }).click();
  await page.waitForTimeout(400);
};

const shoot = async (name) => {
  await page.mouse.move(0, 0);
  await page.waitForTimeout(1200);
  const prefix = `${values.mode}${values.readonly ? "-readonly" : ""}`;
  await page.screenshot({ path: path.join(screenshots, `${prefix}-${name}.png`) });
};

const login = async (password) => {
  await page.getByLabel("Server URL").fill(url);
  await page.getByLabel("Username").fill("admin");
  await page.getByLabel("Password").fill(password);
  await page.getByRole("button", { name: "Connect", exact: true }).click();
};

const connected = () => seen(page.getByRole("banner").getByText("connected", { exact: true }));

check("a wrong password is told, the right one lets in", async () => {
  const browser = await chromium.launch({ executablePath, args: ARGS });
  page = await browser.newPage({ viewport: { width: 1440, height: 1000 } });
  page.setDefaultTimeout(PATIENCE);
  // Fonts and icons from elsewhere.
  await page.route((it) => it.origin !== new URL(url).origin, (route) => route.abort());
  page.on("pageerror", (error) => complaints.push(error.stack));
  page.on("console", (message) => {
    if (message.type() === "error" && !/Failed to load resource/.test(message.text())) complaints.push(message.text());
  });
  page.on("response", (response) => {
    if (response.status() >= 400) complaints.push(`${response.status()} ${response.url()}`);
  });
  await page.goto(`${url}/admin-ui/`);
  await login("wrong");
  await seen(page.getByText("Invalid credentials"));
  await shoot("login-light");
  await login("pw");
  await gone(page.locator(".v-dialog--active"));
  await connected();
});

check("the menu is that of the mode", async () => {
  const titles = page.getByRole("navigation").getByRole("link");
  const pages = development ? ["Dashboard", "Sockets", "Rooms", "Clients", "Events", "Servers"] : ["Dashboard", "Servers"];
  await page.waitForFunction((count) => document.querySelectorAll("nav a").length === count, pages.length);
  assert.deepEqual((await titles.allInnerTexts()).map((text) => text.trim()), pages);
});

check("the servers are listed", async () => {
  await visit("Servers");
  const server = row(values["server-id"]);
  await seen(server.filter({ hasText: /Healthy/ }));
  assert.equal(await row().count(), 1);
  await seen(server.filter({ hasText: require("node:os").hostname() }));
  // It goes on sending its statistics: what was the last is not for long.
  const age = async () => Number.parseInt(await server.locator("td").nth(5).innerText(), 10);
  while ((await age()) === 0) await page.waitForTimeout(200);
  while ((await age()) > 0) await page.waitForTimeout(200);
  await seen(server.filter({ hasText: /Healthy/ }));
});

let ada, bob;

check("the dashboard counts clients and namespaces", async () => {
  [ada, bob] = [await client(), await client(["polling"])];
  ada.said = [];
  ada.on("said", (text) => ada.said.push(text));
  ada.on("disconnect", (reason) => (ada.reason = reason));
  bob.on("disconnect", (reason) => (bob.reason = reason));
  await join(ada, "room1");
  await join(bob, "room1");
  await visit("Dashboard");
  // Two clients and this page; bob is polling.
  await seen(card("Clients").getByRole("row").filter({ hasText: "WebSocket" }).filter({ hasText: /2\s+66\.7 %/ }));
  await seen(card("Clients").getByRole("row").filter({ hasText: "HTTP long-polling" }).filter({ hasText: /1\s+33\.3 %/ }));
  await seen(card("Servers").getByRole("row").filter({ hasText: /^\s*healthy\s*1/i }));
  const namespaces = card("Namespaces").locator("tbody tr");
  await seen(namespaces.filter({ hasText: /^\s*\/\s*2\s*$/ }));
  await seen(namespaces.filter({ hasText: /^\s*\/admin\s*1\s*$/ }));
  assert.equal(await page.locator("canvas").count(), 4);
  await shoot("dashboard-light");
});

inDevelopment("the sockets are listed", async () => {
  await visit("Sockets");
  await choose("/");
  await seen(row(ada.id, "WebSocket"));
  await seen(row(bob.id, "HTTP long-polling"));
  assert.equal(await row().count(), 2);
  await shoot("sockets-light");
});

inDevelopment("the rooms are listed", async () => {
  await visit("Rooms");
  await seen(row("room1", /room1\s*Public\s*2/i));
  assert.equal(await row().count(), 1);
  await page.getByText("Show private rooms?").click();
  await seen(row(ada.id, /Private\s*1/i));
  assert.equal(await row().count(), 3);
});

inDevelopment("the clients are listed", async () => {
  await visit("Clients");
  await seen(row(clientId(ada), "127.0.0.1", "WebSocket"));
  await seen(row(clientId(bob)));
  assert.equal(await row().count(), 3);
});

inDevelopment("events show as they happen", async () => {
  await visit("Events");
  await seen(row("Connection", ada.id));
  await seen(row("Room joined", bob.id, "room1"));
  bob.emit("say", "room1", "good morning");
  await seen(row("Event received", bob.id, "say"));
  await seen(row("Event sent", ada.id, "said"));
  await seen(row("Event sent", bob.id, "said"));
  ada.emit("echo", "one", { two: [3] });
  await seen(row("Event sent", ada.id, "echoed"));
  const echo = row("Event received", ada.id, "echo");
  await button(echo, "chevron-down").click();
  const args = page.locator("main pre");
  await seen(args);
  assert.deepEqual(JSON.parse(await args.innerText()), ["one", { two: [3] }]);
  await page.waitForTimeout(500);
  const eve = await client(["websocket"]);
  const { id } = eve;
  await seen(row("Connection", id));
  eve.close();
  await seen(row("Disconnection", id, "client namespace disconnect"));
  await seen(row("Room left", id));
  for (const timestamp of await page.locator("main tbody tr:not(.v-data-table__expanded__content) td:first-child").allInnerTexts()) {
    assert.ok(Math.abs(Date.parse(timestamp) - Date.now()) < 120_000, timestamp);
  }
  await shoot("events-light");
});

inDevelopment("the page of a socket", async () => {
  await visit("Sockets");
  await row(ada.id).click();
  await arrived("Socket details");
  const details = card("Details");
  await seen(details.getByText(ada.id));
  await seen(details.getByText(clientId(ada)));
  await seen(details.getByText("WebSocket"));
  assert.equal(await details.getByText("connected", { exact: true }).count(), 2);
  const request = card("Initial HTTP request");
  await seen(request.getByRole("row").filter({ hasText: /^\s*host\s*127\.0\.0\.1/ }));
  await seen(request.getByRole("row").filter({ hasText: /^\s*EIO\s*4/ }));
  const rooms = card("Rooms").locator("tbody tr");
  await seen(rooms.filter({ hasText: ada.id }));
  await seen(rooms.filter({ hasText: "room1" }));
  await shoot("socket-light");
});

writable("join and leave from the page of a socket", async () => {
  const rooms = card("Rooms").locator("tbody tr");
  await page.getByLabel("Join a room").fill("attic");
  await button(card("Rooms"), JOIN).click();
  await seen(rooms.filter({ hasText: "attic" }));
  const heard = next(ada, "said");
  bob.emit("say", "attic", "who is in the attic?");
  assert.deepEqual(await heard, ["who is in the attic?"]);
  await button(rooms.filter({ hasText: "attic" }), LEAVE).click();
  await gone(rooms.filter({ hasText: "attic" }));
  bob.emit("say", "attic", "still there?");
  await page.waitForTimeout(300);
  assert.equal(ada.said.at(-1), "who is in the attic?");
});

writable("disconnect from the page of a socket", async () => {
  const eve = await client();
  const closed = next(eve.io.engine, "close");
  const left = next(eve, "disconnect");
  await visit("Sockets");
  await row(eve.id).click();
  await arrived("Socket details");
  // The first is for the client, the second for the socket.
  assert.equal(await button(card("Details"), DISCONNECT).count(), 2);
  await button(card("Details"), DISCONNECT).nth(1).click();
  assert.equal((await left)[0], "io server disconnect");
  await page.waitForFunction(() => /disconnected[^]*disconnected/i.test(document.querySelector("main").innerText));
  assert.equal(await button(card("Details"), DISCONNECT).count(), 0);
  await shoot("socket-disconnected-light");
  eve.io.engine.close();
  await closed;
});

writable("disconnect a client with all it has", async () => {
  const eve = await client();
  const closed = next(eve.io.engine, "close");
  const id = clientId(eve);
  await visit("Clients");
  await button(row(id), DISCONNECT).click();
  await closed;
  await lacks("Clients", id);
});

writable("disconnect from the list of sockets", async () => {
  const eve = await client();
  const left = next(eve, "disconnect");
  const { id } = eve;
  await visit("Sockets");
  await button(row(id), DISCONNECT).click();
  assert.equal((await left)[0], "io server disconnect");
  await lacks("Sockets", id);
  eve.io.engine.close();
});

writable("clear a room, disconnect a room", async () => {
  const eves = [await client(), await client(["polling"])];
  for (const eve of eves) await join(eve, "cellar");
  await join(eves[0], "garden");
  await join(eves[1], "garden");
  await visit("Rooms");
  await button(row("cellar"), LEAVE).click();
  await lacks("Rooms", "cellar");
  await seen(row("garden", /Public\s*2/i));
  const left = eves.map((eve) => next(eve, "disconnect"));
  await button(row("garden"), DISCONNECT).click();
  assert.deepEqual(await Promise.all(left), eves.map(() => ["io server disconnect", undefined]));
  await lacks("Rooms", "garden");
  assert.deepEqual([ada.reason, bob.reason], [undefined, undefined]);
  for (const eve of eves) eve.io.engine.close();
});

writable("the page of a room", async () => {
  await visit("Rooms");
  await row("room1").first().click();
  await arrived("Room details");
  await seen(card("Sockets").getByRole("row").filter({ hasText: ada.id }));
  await seen(card("Sockets").getByRole("row").filter({ hasText: bob.id }));
  const its = card("Sockets").locator("tbody tr").filter({ hasText: bob.id });
  await button(its, LEAVE).click();
  await gone(its);
});

if (development && values.readonly) {
  check("readonly: no action is offered but one that does nothing", async () => {
    // Here is the page of ada's socket. The form to join a room is always there.
    assert.equal(await button(page.locator("main"), DISCONNECT).count(), 0);
    assert.equal(await button(page.locator("main"), LEAVE).count(), 0);
    await page.getByLabel("Join a room").fill("attic");
    await button(card("Rooms"), JOIN).click();
    await page.waitForTimeout(700);
    assert.equal(await card("Rooms").locator("tbody tr").filter({ hasText: "attic" }).count(), 0);
    for (const title of ["Sockets", "Rooms", "Clients"]) {
      await visit(title);
      assert.ok((await row().count()) > 0);
      assert.equal(await page.locator("main tbody button").count(), 0, title);
    }
    assert.ok(ada.connected && bob.connected);
  });
}

check("a dark theme", async () => {
  await visit("Dashboard");
  assert.equal(await page.locator(".v-application.theme--light").count(), 1);
  await page.getByText("Dark theme?").click();
  await seen(page.locator(".v-application.theme--dark"));
  assert.equal(await page.evaluate(() => localStorage.getItem("dark_theme")), "true");
  await shoot("dashboard-dark");
});

check("a reload needs no password", async () => {
  await page.reload();
  if (values.reference) {
    assert.equal(await page.evaluate(() => localStorage.getItem("session_id")), null);
    await seen(page.getByText("Invalid credentials"));
    await login("pw");
    await gone(page.locator(".v-dialog--active"));
  }
  await connected();
  assert.equal(await page.locator(".v-dialog--active").count(), 0);
  assert.equal(await page.locator(".v-application.theme--dark").count(), 1);
  await visit("Servers");
  await seen(row(values["server-id"], /Healthy/));
});

inDevelopment("in the dark, too: a socket", async () => {
  await visit("Sockets");
  // Now that there were sockets in it at the login, / is the namespace shown.
  await seen(row(bob.id));
  await row(ada.id).click();
  await arrived("Socket details");
  await seen(card("Rooms").getByText("room1"));
  await shoot("socket-dark");
});

if (!development) {
  check("production: no sockets, rooms, events", async () => {
    for (const title of ["sockets", "rooms", "clients", "events"]) {
      await page.goto(`${url}/admin-ui/#/${title}/`);
      await arrived(title.replace(/^./, (it) => it.toUpperCase()));
      await seen(page.getByText("No data available"));
    }
    await visit("Dashboard");
    const namespaces = card("Namespaces").locator("tbody tr");
    await seen(namespaces.filter({ hasText: /^\s*\/\s*2\s*$/ }));
  });
}

check("the page had nothing to complain of", async () => {
  ada.close();
  bob.close();
  await page.waitForTimeout(500);
  assert.deepEqual(complaints, []);
  await page.context().browser().close();
});

run();
