// Drawn here, so that there is something to try before any file is at hand.
export const samples = {
  three: (context) => digit(context, "3"),
  eight: (context) => digit(context, "8"),
  shapes(context) {
    context.fillStyle = "#7aa7c7"; context.fillRect(0, 0, 224, 224);
    context.fillStyle = "#5b8f4e"; context.fillRect(0, 150, 224, 74);
    context.fillStyle = "#f3c13a"; context.beginPath(); context.arc(165, 60, 32, 0, 7); context.fill();
    context.fillStyle = "#a33b32"; context.fillRect(50, 90, 70, 80);
    context.fillStyle = "#5a2a22"; context.beginPath(); context.moveTo(40, 92); context.lineTo(85, 50); context.lineTo(130, 92); context.fill();
  },
};

function digit(context, text) {
  context.fillStyle = "#000"; context.fillRect(0, 0, 224, 224);
  context.fillStyle = "#fff"; context.font = "bold 210px sans-serif"; context.textAlign = "center"; context.textBaseline = "middle";
  context.fillText(text, 112, 122);
}
