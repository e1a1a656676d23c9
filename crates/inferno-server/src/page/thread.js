// The conversation on the page: the turns on the way from its beginning to the leaf.

import { AnswerTurn, ToolTurn, UserTurn } from "./turns.js";

const TURNS = { user: UserTurn, assistant: AnswerTurn, tool: ToolTurn };
/// Pixels from the end at which a reader still follows it.
const NEAR = 60;

/// Calls at the next frame, or soon where nobody sees the page.
function atFrame(act) {
  if (document.hidden) setTimeout(act, 50);
  else requestAnimationFrame(() => setTimeout(act, 0));
}

export class Thread {
  constructor({ root, scroll, latest, welcome }, actions) {
    Object.assign(this, { root, scroll, latest, welcome, actions });
    this.views = [];
    this.isFollowing = true;
    scroll.addEventListener("scroll", () => {
      const left = scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight;
      this.isFollowing = left < NEAR;
      latest.hidden = this.isFollowing;
    });
    latest.addEventListener("click", () => this.follow(true));
  }

  /// Shows the path to the conversation's leaf. Turns that are there already stay as they are.
  show(conversation, busy) {
    const turns = conversation.path();
    let n = 0;
    while (n < turns.length && this.views[n]?.node === turns[n] && !turns[n].isStale) n++;
    for (const view of this.views.splice(n)) view.root.remove();
    for (const node of turns.slice(n)) {
      delete node.isStale;
      const view = new TURNS[node.role](node, this.actions);
      this.views.push(view);
      this.root.append(view.root);
      view.update(node === busy);
    }
    this.goOn();
    this.welcome.hidden = turns.length > 0;
    this.showFeet(conversation, busy);
  }

  /// Does something that screen readers need not read out: what is shown is no news.
  quietly(act) {
    this.root.setAttribute("aria-live", "off");
    act();
    setTimeout(() => this.root.setAttribute("aria-live", "polite"), 500);
  }

  showFeet(conversation, busy) {
    for (const [i, view] of this.views.entries()) {
      const isBusy = view.node === busy;
      view.root.classList.toggle("busy", isBusy);
      if (isBusy) view.foot.replaceChildren();
      else view.showFoot(conversation.siblings(view.node), i === this.views.length - 1);
    }
    this.setBusy(Boolean(busy));
  }

  setBusy(isBusy) {
    for (const button of this.root.querySelectorAll("[data-idle]")) {
      button.disabled = isBusy || "never" in button.dataset;
    }
  }

  /// Shows what has come of `node`, if it is on the page.
  update(node, isBusy) {
    const view = this.views[this.views.length - 1];
    if (view?.node !== node) return;
    view.update(isBusy);
    this.follow(false);
    this.goOn();
  }

  /// Goes on with turns whose text is long, a part of it in each frame.
  goOn() {
    if (this.isGoingOn || !this.views.some((view) => view.hasMore)) return;
    this.isGoingOn = true;
    atFrame(() => {
      this.isGoingOn = false;
      const view = this.views.find((other) => other.hasMore);
      view?.update(view.isBusy);
      this.follow(false);
      this.goOn();
    });
  }

  /// Goes to the end if the reader is there, or at any rate.
  follow(always) {
    if (always) this.isFollowing = true;
    if (this.isFollowing) this.scroll.scrollTop = this.scroll.scrollHeight;
  }
}
