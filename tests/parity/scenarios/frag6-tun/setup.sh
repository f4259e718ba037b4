ipvsadm -A -u [2001:db8:1::10]:53 -s rr
ipvsadm -a -u [2001:db8:1::10]:53 -r [2001:db8:2::11]:53 -i -w 1
ipvsadm -A -t [2001:db8:1::10]:80 -s rr
ipvsadm -a -t [2001:db8:1::10]:80 -r [2001:db8:2::11]:80 -i -w 1
