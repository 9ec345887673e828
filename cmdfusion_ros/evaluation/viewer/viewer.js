// The page of labelled clouds: turns the cloud, steps through time, shows the cameras.
// `PAGE` = {colors: [[r, g, b] of each label 0..255], centre: [x, y, z] m,
//           scans: [{name, mode, scale, points, labels, cameras: [{name, jpeg}]}]};
// points: base64 of int16 (N, 3), times `scale` = metres from `centre`; labels: base64 of uint8 (N,).
"use strict";
const bytes = text => Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
const at = id => document.getElementById(id);
const canvas = at("cloud");
const renderer = new THREE.WebGLRenderer({canvas, antialias: true, preserveDrawingBuffer: true});
renderer.outputColorSpace = "srgb-linear"; // class colours come out as they are
const scene = new THREE.Scene();
scene.background = new THREE.Color().setRGB(0x14 / 255, 0x16 / 255, 0x1a / 255);
const camera = new THREE.PerspectiveCamera(55, 1, 0.1, 5000);
camera.up.set(0, 0, 1);
camera.position.set(-28, 0, 18);
const controls = new THREE.OrbitControls(camera, canvas);
controls.target.set(6, 0, 0);
const geometry = new THREE.BufferGeometry();
const material = new THREE.PointsMaterial({size: 2, sizeAttenuation: false, vertexColors: true});
const points = new THREE.Points(geometry, material);
points.frustumCulled = false;
const axes = new THREE.AxesHelper(2); // red x, green y, blue z, at the cloud's origin
axes.position.set(...PAGE.centre.map(value => -value));
scene.add(points, axes);
const hidden = new Set();
let shown = 0, playing = 0;

function draw() { renderer.render(scene, camera); }

function resize() {
  const {clientWidth: width, clientHeight: height} = canvas.parentElement;
  renderer.setPixelRatio(window.devicePixelRatio || 1);
  renderer.setSize(width, height, false);
  camera.aspect = width / height;
  camera.updateProjectionMatrix();
  draw();
}

function show(index) {
  shown = (index + PAGE.scans.length) % PAGE.scans.length;
  const scan = PAGE.scans[shown];
  const whole = new Int16Array(bytes(scan.points).buffer), labels = bytes(scan.labels);
  const places = new Float32Array(whole.length), colors = new Uint8Array(whole.length);
  let kept = 0;
  for (let row = 0; row < labels.length; row++) {
    if (hidden.has(labels[row])) continue;
    for (let axis = 0; axis < 3; axis++) {
      places[3 * kept + axis] = whole[3 * row + axis] * scan.scale;
      colors[3 * kept + axis] = PAGE.colors[labels[row]][axis];
    }
    kept++;
  }
  geometry.setAttribute("position", new THREE.BufferAttribute(places.subarray(0, 3 * kept), 3));
  geometry.setAttribute("color", new THREE.BufferAttribute(colors.subarray(0, 3 * kept), 3, true));
  at("cameras").replaceChildren(...scan.cameras.map(view => {
    const figure = document.createElement("figure"), image = new Image();
    image.src = "data:image/jpeg;base64," + view.jpeg;
    image.alt = view.name;
    const words = document.createElement("figcaption");
    words.textContent = view.name;
    figure.append(image, words);
    return figure;
  }));
  at("time").value = shown;
  at("words").textContent = `${shown + 1} of ${PAGE.scans.length} · ${scan.name} · ` +
    `${scan.mode} · ${kept} points`;
  draw();
}

function play() {
  clearInterval(playing);
  playing = at("play").textContent === "play" ? setInterval(() => show(shown + 1), 200) : 0;
  at("play").textContent = playing ? "stop" : "play";
}

at("time").max = PAGE.scans.length - 1;
at("time").oninput = event => show(Number(event.target.value));
at("back").onclick = () => show(shown - 1);
at("on").onclick = () => show(shown + 1);
at("play").onclick = play;
at("size").oninput = event => { material.size = Number(event.target.value); draw(); };
for (const box of document.querySelectorAll("#classes input")) {
  box.onchange = () => {
    if (box.checked) hidden.delete(Number(box.value)); else hidden.add(Number(box.value));
    show(shown);
  };
}
addEventListener("keydown", event => {
  if (event.target.tagName === "INPUT") return; // it has the arrows itself
  if (event.key === "ArrowRight") show(shown + 1);
  if (event.key === "ArrowLeft") show(shown - 1);
});
addEventListener("resize", resize);
// #7 in the address: the page opens at the seventh scan
const asked = () => show((Number(location.hash.slice(1)) || 1) - 1);
addEventListener("hashchange", asked);
controls.addEventListener("change", draw);
controls.update();
asked();
resize();
