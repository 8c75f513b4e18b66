// What is said about an answer, in words. `about` is what the service says of its model.

export const sort = item => item.fault ? "fault" : !item.answer ? "waiting"
  : item.answer.anomalous === null ? "undecided" : item.answer.anomalous ? "unusual" : "usual";

const VERDICTS = {
  unusual: ["▲ Unusual", "unusual"], usual: ["✓ Looks good", "usual"], undecided: ["– No decision", "none"],
  waiting: ["… being looked at", "none"], fault: ["✕ Not judged", "none"],
};
export const verdict = item => ({ said: VERDICTS[sort(item)][0], kind: VERDICTS[sort(item)][1] });

// Why a picture could not be judged, without what only programs have to know.
export const trouble = said => said.replace(/^the body cannot be read as a picture/, "It cannot be read as a picture")
  .replace(/^the body/, "The file").replace(/; send the picture file as it is.*/, "");

export const figure = value => Number(value.toPrecision(3)).toString();

export function chance(answer, about) {
  if (answer.p_value === null) return "No good pictures were set aside to compare it with, so nothing decides; its score can only be compared with other scores.";
  const count = about.heldout, alike = Math.max(0, Math.round(answer.p_value * (count + 1)) - 1);
  const good = `of the ${count} good pictures that it was compared with`;
  const said = alike === 0 ? `None ${good} looks this unusual.` : alike === count ? `All ${good} look at least this unusual.`
    : `${alike} ${good} look${alike === 1 ? "s" : ""} at least this unusual.`;
  return said;
}

// 0 is what good pictures usually have, 1 the limit.
export const relative = (score, about) => (score - about.ordinary) / Math.max(about.threshold - about.ordinary, 1e-12);

const PARTS = {
  coarse_place: "Larger shapes, at their place", coarse_near: "Larger shapes, compared with the most alike good picture",
  fine_place: "Fine detail, at its place", fine_near: "Fine detail, compared with the most alike good picture",
  one_class: "Distance from the good pictures", reconstruction: "Error when it is drawn from memory",
};
export const part = name => PARTS[name] ?? name.replace(/^layer(\d+)$/, "Layer $1 of the network");

export const place = ({ box: [left, top, width, height] }) =>
  `${width} × ${height} pixels, ${left} from the left and ${top} from the top`;

export const several = (count, one, many) => `${count} ${count === 1 ? one : many}`;
