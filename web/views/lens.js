// A small playground for a chapter: the reader's own beginning, and only the knobs of
// this chapter.

import {PAGE, UNLINKED, element} from './dom.js'
import {Playground} from './playground.js'
import {SLIDERS} from './state.js'

export class Lens extends Playground {
  /** As `Playground`; `state.show` names the knobs that are shown */
  constructor(root, first, source = PAGE, {show, ...state} = {}) {
    super(root, first, {...source, ...UNLINKED}, {show, ...state})
  }

  get bars() { return 8 }

  get goOn() { return 'Step' }

  buildKnobs() { super.buildKnobs(this.state.show.filter(n => n in SLIDERS)) }

  buildMore() { this.more = element('details') }

  layOut(root) {
    this.title.textContent = 'Your own beginning'
    this.prompt.rows = 1
    root.replaceChildren(
      this.title, this.prompt, this.columns(this.state.show, this.steps),
      element('div', {class: 'llms-row-of-buttons'}, this.stepButton, this.undoButton,
              this.clearButton),
      this.status.row, this.text, this.note,
      element('details', {}, element('summary', {}, 'The same tokens in Python'),
              this.code))
  }
}
