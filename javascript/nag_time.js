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

    // What the host has written under the picture; null while its progress is shown in that place.
    function said(tab) {
        const log = root().querySelector(`#html_log_${tab}`);
        const parts = log ? log.querySelectorAll(".performance, .comments, section") : [];
        return parts.length ? Array.from(parts, (part) => part.textContent).join("\n") : null;
    }

    function look() {
        for (const tab of ["txt2img", "img2img"]) {
            const text = said(tab);
            if (text === null || text === seen[tab]) continue;
            seen[tab] = text;
            refresh(tab);
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
