(function(){var t=document.getElementById("t"),b=t.tBodies[0],q=document.getElementById("q");
q.addEventListener("input",function(){var w=q.value.toLowerCase();for(var i=0;i<b.rows.length;i++){var r=b.rows[i];r.hidden=w&&r.textContent.toLowerCase().indexOf(w)<0}});
Array.prototype.forEach.call(t.tHead.rows[0].cells,function(h,c){var k=h.querySelector("button");if(!k)return;k.addEventListener("click",function(){var up=h.getAttribute("aria-sort")!=="ascending";
Array.prototype.forEach.call(t.tHead.rows[0].cells,function(x){if(x.hasAttribute("aria-sort"))x.setAttribute("aria-sort","none")});h.setAttribute("aria-sort",up?"ascending":"descending");
var rows=Array.prototype.slice.call(b.rows);rows.sort(function(x,y){var m=x.cells[c],n=y.cells[c],v=m.dataset.v!==undefined?m.dataset.v-n.dataset.v:m.textContent.localeCompare(n.textContent,undefined,{numeric:true});return up?v:-v});rows.forEach(function(r){b.appendChild(r)})})})})();
