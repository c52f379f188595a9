// What an extension's script may call in A1111: the same names, for this page. Loaded before the extension's own files.
"use strict";

const uiUpdateCallbacks = [];
const uiAfterUpdateCallbacks = [];
const uiLoadedCallbacks = [];
const uiTabChangeCallbacks = [];
const optionsChangedCallbacks = [];
const optionsAvailableCallbacks = [];
let uiCurrentTab = null;
let opts = {};

function gradioApp() {
    const app = document.querySelector("gradio-app") || document;
    const root = app.shadowRoot || app;
    if (!root.getElementById) root.getElementById = (id) => document.getElementById(id);
    return root;
}

function get_uiCurrentTab() {
    return gradioApp().querySelector("#tabs button.selected, #tabs button[aria-selected=true]");
}

function get_uiCurrentTabContent() {
    return ["tab_txt2img", "tab_img2img"].map((id) => document.getElementById(id)).find((tab) => tab && tab.offsetParent !== null) || null;
}

function onUiUpdate(callback) { uiUpdateCallbacks.push(callback); }
function onAfterUiUpdate(callback) { uiAfterUpdateCallbacks.push(callback); }
function onUiLoaded(callback) { uiLoadedCallbacks.push(callback); }
function onUiTabChange(callback) { uiTabChangeCallbacks.push(callback); }
function onOptionsChanged(callback) { optionsChangedCallbacks.push(callback); }
function onOptionsAvailable(callback) {
    if (Object.keys(opts).length) callback(); else optionsAvailableCallbacks.push(callback);
}

// A value set from a script reaches Gradio only through the events a keystroke would send.
function updateInput(target) {
    for (const name of ["input", "change"]) target.dispatchEvent(new Event(name, {bubbles: true}));
}

(function () {
    function runAll(callbacks, argument) {
        for (const callback of callbacks) {
            try {
                callback(argument);
            } catch (error) {
                console.error("error running callback", callback, error);
            }
        }
    }

    let afterTimer = null;
    let loaded = false;
    const observer = new MutationObserver((mutations) => {
        if (!loaded && document.querySelector("#txt2img_prompt textarea")) {
            loaded = true;
            runAll(uiLoadedCallbacks);
        }
        runAll(uiUpdateCallbacks, mutations);
        clearTimeout(afterTimer);
        afterTimer = setTimeout(() => runAll(uiAfterUpdateCallbacks), 200);
        const tab = get_uiCurrentTab();
        if (tab && tab !== uiCurrentTab) {
            uiCurrentTab = tab;
            runAll(uiTabChangeCallbacks);
        }
    });
    document.addEventListener("DOMContentLoaded", () => observer.observe(document.body, {childList: true, subtree: true}));
    if (document.body) observer.observe(document.body, {childList: true, subtree: true});

    // The narrow panel hides what a control is for; the pointer brings it back, and those who hear the page are told.
    uiAfterUpdateCallbacks.push(() => {
        for (const info of document.querySelectorAll(".studio-scripts .info-text:not([data-told])")) {
            info.dataset.told = "1";
            const block = info.closest(".block");
            if (!block) continue;
            block.title = info.textContent.trim();
            block.querySelectorAll("input, textarea").forEach((field) => field.setAttribute("aria-description", block.title));
        }
    });

    // What a run did, and what was wrong, is read out when it comes.
    uiAfterUpdateCallbacks.push(() => {
        for (const place of document.querySelectorAll(".studio-report, .studio-message")) place.setAttribute("aria-live", "polite");
    });

    // In a narrow window the pictures are far below the button: they come into sight when they are there.
    uiAfterUpdateCallbacks.push(() => {
        for (const report of document.querySelectorAll(".studio-report .report:not([data-met])")) {
            report.dataset.met = "1";
            const results = report.closest(".studio-results");
            if (results && results.getBoundingClientRect().top > 0.75 * window.innerHeight) results.scrollIntoView();
        }
    });

    // Gradio names the place of a picture that is not there yet, but not what it is.
    uiAfterUpdateCallbacks.push(() => {
        document.querySelectorAll(".empty[aria-label]:not([role])").forEach((place) => place.setAttribute("role", "img"));
    });

    // Buttons that show a symbol only.
    const SYMBOLS = {random_seed: "A new seed each time", reuse_seed: "The seed of the picture shown"};
    uiAfterUpdateCallbacks.push(() => {
        for (const [id, name] of Object.entries(SYMBOLS)) {
            for (const button of document.querySelectorAll(`button[id$=_${id}]:not([aria-label])`)) {
                button.title = name;
                button.setAttribute("aria-label", name);
            }
        }
    });

    fetch("sdapi/v1/options").then((answer) => (answer.ok ? answer.json() : {})).then((values) => {
        opts = values;
        runAll(optionsAvailableCallbacks.splice(0));
        runAll(optionsChangedCallbacks);
    }).catch(() => {});

    // Ctrl+Enter generates; Esc interrupts: as in A1111.
    document.addEventListener("keydown", (event) => {
        const tab = get_uiCurrentTabContent();
        if (!tab) return;
        if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
            const button = tab.querySelector("[id$=_generate]");
            if (button) { event.preventDefault(); button.click(); }
        } else if (event.key === "Escape" && tab.querySelector(".studio-progress .bar")) {
            tab.querySelector("[id$=_interrupt]")?.click();
        }
    });
})();
