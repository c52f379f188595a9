// Fetches the report into the panel once a generation has ended: the line with the time taken has changed.
(function () {
    const seen = {};

    function root() {
        return typeof gradioApp === "function" ? gradioApp() : document;
    }

    function refresh(tab) {
        const holder = root().querySelector(`#nag_time_${tab}_refresh`);
        if (!holder) return;
        (holder.tagName === "BUTTON" ? holder : holder.querySelector("button") || holder).click();
    }

    function look() {
        for (const tab of ["txt2img", "img2img"]) {
            const log = root().querySelector(`#html_log_${tab}`);
            const text = log ? log.textContent.trim() : "";
            if (text === seen[tab]) continue;
            const first = seen[tab] === undefined;
            seen[tab] = text;
            if (!first && text) refresh(tab);
        }
    }

    window.nagTimeRefresh = refresh;
    if (typeof onAfterUiUpdate === "function") {
        onAfterUiUpdate(look);
    } else {
        let timer = null;
        new MutationObserver(() => {
            clearTimeout(timer);
            timer = setTimeout(look, 200);
        }).observe(document, {childList: true, subtree: true, characterData: true});
    }
})();
